//! What keys and values of requirements may be.

use super::{Operator, Requirement, SelectorError};
use crate::ids::is_dns_subdomain;

const NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const PREFIX: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LONG: &str = "must be no more than 63 bytes";

/// Longest name or value.
const MAX: usize = 63;

/// Checks a label key; `path` is what a refusal calls it.
pub(super) fn key(path: &str, key: &str) -> Result<(), SelectorError> {
    let mut why = Vec::new();
    let name = match key.split_once('/') {
        Some((_, name)) if name.contains('/') => {
            let detail = format!(
                "a qualified name {NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            );
            return Err(invalid(path, key, &detail));
        }
        Some(("", name)) => {
            why.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            if !is_dns_subdomain(prefix) {
                why.push(format!("prefix part {PREFIX}"));
            }
            name
        }
        None => key,
    };
    if name.is_empty() {
        why.push("name part must be non-empty".to_owned());
    } else if name.len() > MAX {
        why.push(format!("name part {LONG}"));
    }
    if !is_spelled_as_name(name) {
        why.push(format!("name part {NAME}"));
    }
    if why.is_empty() { Ok(()) } else { Err(invalid(path, key, &why.join("; "))) }
}

/// Checks the values of a requirement.
pub(super) fn values(requirement: &Requirement) -> Result<(), SelectorError> {
    let ordered = matches!(requirement.operator, Operator::GreaterThan | Operator::LessThan);
    for (i, value) in requirement.values.iter().enumerate() {
        if ordered && value.parse::<i64>().is_err() {
            let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
            return Err(invalid(&format!("values[{i}]"), value, detail));
        }
        let path = format!("values[{i}][{}]", requirement.key);
        if value.len() > MAX {
            return Err(invalid(&path, value, LONG));
        }
        if !value.is_empty() && !is_spelled_as_name(value) {
            return Err(invalid(&path, value, VALUE));
        }
    }
    Ok(())
}

fn invalid(path: &str, value: &str, detail: &str) -> SelectorError {
    SelectorError(format!("{path}: Invalid value: {value:?}: {detail}"))
}

/// Whether a text has the characters of a name, whatever its length.
fn is_spelled_as_name(s: &str) -> bool {
    let b = s.as_bytes();
    let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    ends(b.first()) && ends(b.last()) && b.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}
