//! Identifiers that cannot be wrong once parsed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a string is no valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {what}: {rule}")]
pub struct InvalidId {
    /// What the string was meant to be, e.g. `node name`.
    pub what: &'static str,
    /// The refused string.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";

/// Whether `s` is a lower-case RFC 1123 label: at most 63 of `[a-z0-9-]`, alphanumeric at both ends.
pub fn is_dns_label(s: &str) -> bool {
    let b = s.as_bytes();
    let alnum = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&b.len())
        && b.iter().all(|c| alnum(c) || *c == b'-')
        && b.first().is_some_and(alnum)
        && b.last().is_some_and(alnum)
}

/// Whether `s` is a lower-case RFC 1123 subdomain: at most 253 characters of labels (of any length) joined by dots.
pub fn is_dns_subdomain(s: &str) -> bool {
    let alnum = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=253).contains(&s.len())
        && s.split('.').all(|label| {
            let b = label.as_bytes();
            b.iter().all(|c| alnum(c) || *c == b'-') && b.first().is_some_and(alnum) && b.last().is_some_and(alnum)
        })
}

/// The name of a node: a lower-case RFC 1123 subdomain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// Parses a node name.
    ///
    /// # Errors
    /// [`InvalidId`] when `s` is not an RFC 1123 subdomain.
    pub fn parse(s: &str) -> Result<Self, InvalidId> {
        if is_dns_subdomain(s) {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidId { what: "node name", value: s.to_owned(), rule: SUBDOMAIN_RULE })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        Self::parse(&s)
    }
}

impl From<NodeName> for String {
    fn from(n: NodeName) -> Self {
        n.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The uid of a pod (the `metadata.uid` the hub gave it): 1 to 63 characters of a DNS label, safe in file and container names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodUid(String);

impl PodUid {
    /// Parses a pod uid.
    ///
    /// # Errors
    /// [`InvalidId`] when `s` is not an RFC 1123 label.
    pub fn parse(s: &str) -> Result<Self, InvalidId> {
        if is_dns_label(s) {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidId { what: "pod uid", value: s.to_owned(), rule: LABEL_RULE })
        }
    }

    /// The uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PodUid {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        Self::parse(&s)
    }
}

impl From<PodUid> for String {
    fn from(u: PodUid) -> Self {
        u.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
