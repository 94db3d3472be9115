//! Nobody may grant what it does not hold: the checks on writes of roles and bindings.

use super::rules::{Rule, go_list};
use super::{Policy, User};

/// Whether a user holds, in a namespace, all that `rules` allow.
///
/// # Errors
/// Kubernetes' text, which names what is missing.
pub fn confirm(policy: &Policy, user: &User, namespace: &str, rules: &[Rule]) -> Result<(), String> {
    let (held, errors) = policy.rules_for(user, namespace);
    let atoms = rules.iter().flat_map(Rule::atoms);
    let missing: Vec<Rule> = atoms.filter(|atom| !held.iter().any(|own| own.covers(atom))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut shown: Vec<String> = joined(missing).iter().map(Rule::compact).collect();
    shown.sort();
    shown.dedup();
    let mut text = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        go_list(&user.groups),
        shown.join("\n")
    );
    if !errors.is_empty() {
        let errors: Vec<String> = errors.iter().map(|e| format!("{e:?}")).collect();
        text = format!("{text}; resolution errors: [{}]", errors.join(", "));
    }
    Err(text)
}

/// Rules about the same resource or path as one with all their verbs.
fn joined(atoms: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for atom in atoms {
        let same = |r: &&mut Rule| {
            r.non_resource_urls.is_empty()
                && r.api_groups == atom.api_groups
                && r.resources == atom.resources
                && r.resource_names == atom.resource_names
        };
        match out.iter_mut().find(same).filter(|_| atom.non_resource_urls.is_empty()) {
            Some(rule) => rule.verbs.extend(atom.verbs),
            None => out.push(atom),
        }
    }
    out
}
