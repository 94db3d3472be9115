//! One rule of a role: what it allows, and which other rules it covers.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::{Attributes, nullable};

const ALL: &str = "*";

/// `rbac.authorization.k8s.io/v1.PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Verbs, or `*`.
    #[serde(deserialize_with = "nullable")]
    pub verbs: Vec<String>,
    /// API groups, or `*`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale` or `*`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names the rule is confined to; empty for all.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths; a `*` at the end stands for any rest.
    #[serde(rename = "nonResourceURLs", deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// Whether it allows a request.
    pub fn allows(&self, wanted: &Attributes<'_>) -> bool {
        if !matches(&self.verbs, wanted.verb) {
            return false;
        }
        if !wanted.is_resource() {
            return self.non_resource_urls.iter().any(|url| url_covers(url, wanted.path));
        }
        matches(&self.api_groups, wanted.group)
            && self.resources.iter().any(|r| resource_matches(r, wanted.resource, wanted.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == wanted.name))
    }

    /// Whether it allows all that another rule allows. The other must be one of [`Rule::atoms`].
    pub(super) fn covers(&self, other: &Rule) -> bool {
        let names = if other.resource_names.is_empty() {
            self.resource_names.is_empty()
        } else {
            self.resource_names.is_empty() || has_all(&self.resource_names, &other.resource_names)
        };
        let resource = |wanted: &String| {
            let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
            self.resources.iter().any(|r| r == ALL || r == wanted || resource_matches(r, resource, subresource))
        };
        names
            && (self.verbs.iter().any(|v| v == ALL) || has_all(&self.verbs, &other.verbs))
            && (self.api_groups.iter().any(|g| g == ALL) || has_all(&self.api_groups, &other.api_groups))
            && other.resources.iter().all(resource)
            && other.non_resource_urls.iter().all(|url| self.non_resource_urls.iter().any(|own| url_covers(own, url)))
    }

    /// Whether other rules together allow all that this one does.
    pub fn is_covered_by(&self, held: &[Rule]) -> bool {
        self.atoms().iter().all(|atom| held.iter().any(|own| own.covers(atom)))
    }

    /// The rule as the smallest rules it is made of: one verb of one resource (and name) of one group, or of one path.
    pub(super) fn atoms(&self) -> Vec<Rule> {
        let mut atoms = Vec::new();
        let one = |text: &String| vec![text.clone()];
        for verb in &self.verbs {
            for (group, resource) in self.api_groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r))) {
                let atom =
                    Rule { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Rule::default() };
                if self.resource_names.is_empty() {
                    atoms.push(atom.clone());
                }
                atoms.extend(self.resource_names.iter().map(|n| Rule { resource_names: one(n), ..atom.clone() }));
            }
            let path = |url| Rule { verbs: one(verb), non_resource_urls: one(url), ..Rule::default() };
            atoms.extend(self.non_resource_urls.iter().map(path));
        }
        atoms
    }

    /// The rule in the form of Kubernetes' messages: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
    pub(super) fn compact(&self) -> String {
        let mut text = String::new();
        for (name, values) in [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ] {
            if !values.is_empty() {
                let comma = if text.is_empty() { "" } else { ", " };
                write!(text, "{comma}{name}:{}", go_list(values)).expect("a String takes all text");
            }
        }
        format!("{{{text}}}")
    }
}

/// A list of strings as Go's `%q` prints it: `["a" "b"]`.
pub(super) fn go_list(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn matches(list: &[String], wanted: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry == wanted)
}

fn has_all(list: &[String], wanted: &[String]) -> bool {
    wanted.iter().all(|w| list.contains(w))
}

/// Whether one entry of `resources` matches a resource and its subresource.
fn resource_matches(entry: &str, resource: &str, subresource: &str) -> bool {
    match entry.split_once('/') {
        _ if entry == ALL => true,
        None => subresource.is_empty() && entry == resource,
        // Everything before the slash is one resource's name or all of them.
        Some((owner, sub)) => !subresource.is_empty() && sub == subresource && (owner == ALL || owner == resource),
    }
}

fn url_covers(own: &str, path: &str) -> bool {
    own == path || own.strip_suffix(ALL).is_some_and(|prefix| path.starts_with(prefix))
}
