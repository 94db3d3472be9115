//! What Pod Security asks of the pods of a namespace: levels and versions, from labels and from the hub's configuration.

use std::fmt;

use crate::registry::{FieldError, FieldErrorKind};

/// The prefix of the labels of a namespace, and of audit annotations.
pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a pod may do; the strictest last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    #[default]
    Privileged,
    /// No known ways out of its containers.
    Baseline,
    /// What current practice for hardening pods lets it.
    Restricted,
}

impl Level {
    const ALL: [Self; 3] = [Self::Privileged, Self::Baseline, Self::Restricted];

    fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let named = Self::ALL.into_iter().find(|level| level.as_str() == text);
        named.ok_or("must be one of privileged, baseline, restricted")
    }
}

/// Whose version of the checks holds: Kubernetes 1.`minor`, or the latest for `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version(pub Option<u32>);

impl Version {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "latest" {
            return Ok(Self(None));
        }
        let minor = text.strip_prefix("v1.").filter(|m| *m == "0" || !m.starts_with(['0', '+']));
        let minor = minor.and_then(|m| m.parse().ok());
        minor.map(|minor| Self(Some(minor))).ok_or(r#"must be "latest" or "v1.x""#)
    }
}

/// A level as of a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standard {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.as_str();
        match self.version.0 {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What happens to pods below three standards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Below it they are refused.
    pub enforce: Standard,
    /// Below it the audit log says so.
    pub audit: Standard,
    /// Below it the client is warned.
    pub warn: Standard,
}

impl Policy {
    /// The policy of a namespace with these labels, and what is wrong with them. A wrong `enforce` counts as the
    /// strictest, a wrong `audit` or `warn` as the mildest.
    pub(super) fn of<'a>(&self, labels: impl Iterator<Item = (&'a str, &'a str)>) -> (Self, Vec<FieldError>) {
        let (mut policy, mut errors) = (*self, Vec::new());
        for (key, value) in labels {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let (mode, version) = name.strip_suffix("-version").map_or((name, false), |mode| (mode, true));
            let strict = if mode == "enforce" { Level::Restricted } else { Level::Privileged };
            let Some(standard) = policy.mode(mode) else { continue };
            let wrong = if version {
                let parsed = Version::parse(value);
                standard.version = parsed.unwrap_or_default();
                parsed.err()
            } else {
                let parsed = Level::parse(value);
                standard.level = parsed.unwrap_or(strict);
                parsed.err()
            };
            errors.extend(wrong.map(|detail| FieldError {
                field: format!("metadata.labels[{key}]"),
                kind: FieldErrorKind::Invalid(format!("{value:?}")),
                detail: detail.into(),
            }));
        }
        (policy, errors)
    }

    fn mode(&mut self, name: &str) -> Option<&mut Standard> {
        match name {
            "enforce" => Some(&mut self.enforce),
            "audit" => Some(&mut self.audit),
            "warn" => Some(&mut self.warn),
            _ => None,
        }
    }
}

/// The configuration of Pod Security for the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodSecurity {
    /// What holds where labels say nothing.
    pub defaults: Policy,
    /// Who is exempt.
    pub exemptions: Exemptions,
}

/// Whom Pod Security leaves alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exemptions {
    /// Pods in these namespaces.
    pub namespaces: Vec<String>,
    /// Pods that these users create.
    pub usernames: Vec<String>,
    /// Pods of these runtime classes.
    pub runtime_classes: Vec<String>,
}

/// Reads `enforce=baseline:v1.30,warn=restricted`.
///
/// # Errors
/// What is wrong, continuing a sentence that begins with the setting.
pub fn parse_defaults(text: &str) -> Result<Policy, String> {
    let mut policy = Policy::default();
    for (mode, value) in pairs(text)? {
        let standard = policy.mode(mode).ok_or_else(|| format!("names {mode:?}, not enforce, audit or warn"))?;
        let (level, version) = value.split_once(':').unwrap_or((value, "latest"));
        standard.level = Level::parse(level).map_err(|e| wrong(level, e))?;
        standard.version = Version::parse(version).map_err(|e| wrong(version, e))?;
    }
    Ok(policy)
}

fn wrong(value: &str, detail: &str) -> String {
    format!("has {value:?}, which {detail}")
}

/// Reads `namespace=kube-system,username=robot,runtimeClass=kata`; each may come several times.
///
/// # Errors
/// What is wrong, continuing a sentence that begins with the setting.
pub fn parse_exemptions(text: &str) -> Result<Exemptions, String> {
    let mut exemptions = Exemptions::default();
    for (kind, name) in pairs(text)? {
        let list = match kind {
            "namespace" => &mut exemptions.namespaces,
            "username" => &mut exemptions.usernames,
            "runtimeClass" => &mut exemptions.runtime_classes,
            other => return Err(format!("names {other:?}, not namespace, username or runtimeClass")),
        };
        list.push(name.to_owned());
    }
    Ok(exemptions)
}

fn pairs(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part| match str::split_once(part, '=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name, value)),
        Some(_) | None => Err(format!("has {part:?}, which is not NAME=VALUE")),
    };
    parts.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(policy: &Policy) -> String {
        format!("{} {} {}", policy.enforce, policy.audit, policy.warn)
    }

    #[test]
    fn labels_go_over_defaults_and_wrong_ones_are_told() {
        let defaults = parse_defaults("warn=baseline:v1.20").unwrap();
        for (labels, policy, errors) in [
            (vec![], "privileged:latest privileged:latest baseline:v1.20", vec![]),
            (
                vec![("enforce", "baseline"), ("enforce-version", "v1.0"), ("warn-version", "latest")],
                "baseline:v1.0 privileged:latest baseline:latest",
                vec![],
            ),
            (
                vec![("enforce", "odd"), ("audit", ""), ("audit-version", "v1.01"), ("other", "x")],
                "restricted:latest privileged:latest baseline:v1.20",
                vec![
                    r#"metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "odd": must be one of privileged, baseline, restricted"#,
                    r#"metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "": must be one of privileged, baseline, restricted"#,
                    r#"metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: "v1.01": must be "latest" or "v1.x""#,
                ],
            ),
        ] {
            let labels: Vec<_> = labels.iter().map(|(k, v)| (format!("{PREFIX}{k}"), *v)).collect();
            let (found, wrong) = defaults.of(labels.iter().map(|(k, v)| (&**k, *v)));
            let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
            assert_eq!((shown(&found).as_str(), wrong), (policy, errors.into_iter().map(str::to_owned).collect()));
        }
    }

    #[test]
    fn configuration_is_strict() {
        for (text, expected) in [
            ("", Ok("privileged:latest privileged:latest privileged:latest")),
            ("enforce=baseline, audit=restricted:v1.25", Ok("baseline:latest restricted:v1.25 privileged:latest")),
            ("enforce", Err(r#"has "enforce", which is not NAME=VALUE"#)),
            ("enforced=baseline", Err(r#"names "enforced", not enforce, audit or warn"#)),
            ("warn=low", Err(r#"has "low", which must be one of privileged, baseline, restricted"#)),
            ("warn=baseline:1", Err(r#"has "1", which must be "latest" or "v1.x""#)),
        ] {
            let found = parse_defaults(text);
            assert_eq!(found.as_ref().ok().map(shown).as_deref(), expected.ok());
            assert_eq!(found.err().as_deref(), expected.err());
        }
        let exempt = parse_exemptions("namespace=a,namespace=b,username=u,runtimeClass=r").unwrap();
        assert_eq!((exempt.namespaces.len(), exempt.usernames.len(), exempt.runtime_classes.len()), (2, 1, 1));
        assert_eq!(parse_exemptions("node=x"), Err("names \"node\", not namespace, username or runtimeClass".into()));
    }
}
