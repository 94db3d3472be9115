//! Label and field selectors, in the forms and with the meaning Kubernetes gives them
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>).

mod check;
mod parse;

use std::fmt;

/// A label selector: requirements that must all hold. The empty selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// The requirements.
    pub requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Relation.
    pub operator: Operator,
    /// Values: at least one for `In` and `NotIn`, exactly one for `GreaterThan` and `LessThan`, else none.
    pub values: Vec<String>,
}

/// Relation of a label to the values of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is missing or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
    /// The label is an integer greater than the value.
    GreaterThan,
    /// The label is an integer less than the value.
    LessThan,
}

/// Why a selector cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl LabelSelector {
    /// Parses the query form: `app=web,tier in (a, b),!old,gen>3`.
    ///
    /// # Errors
    /// [`SelectorError`] that names the offending part.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text)
    }

    /// The selector that wants each of these labels with exactly this value.
    pub fn equal<K: Into<String>, V: Into<String>>(labels: impl IntoIterator<Item = (K, V)>) -> Self {
        let requirements = labels
            .into_iter()
            .map(|(k, v)| Requirement { key: k.into(), operator: Operator::In, values: vec![v.into()] })
            .collect();
        Self { requirements }
    }

    /// Whether the selector matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether a set of labels, given as a look-up, fulfils every requirement.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.matches(label(&r.key)))
    }
}

impl Requirement {
    /// Whether a label's value (or its absence) fulfils this.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let number = |s: &str| s.parse::<i64>().ok();
        let compare = |wanted: std::cmp::Ordering| {
            let (have, limit) = (value.and_then(number), self.values.first().and_then(|v| number(v)));
            matches!((have, limit), (Some(h), Some(l)) if h.cmp(&l) == wanted)
        };
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.iter().any(|w| w == v)),
            Operator::NotIn => value.is_none_or(|v| self.values.iter().all(|w| w != v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compare(std::cmp::Ordering::Greater),
            Operator::LessThan => compare(std::cmp::Ordering::Less),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let (key, values) = (&r.key, r.values.join(","));
            match r.operator {
                Operator::In if r.values.len() == 1 => write!(f, "{key}={values}")?,
                Operator::In => write!(f, "{key} in ({values})")?,
                Operator::NotIn if r.values.len() == 1 => write!(f, "{key}!={values}")?,
                Operator::NotIn => write!(f, "{key} notin ({values})")?,
                Operator::Exists => write!(f, "{key}")?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::GreaterThan => write!(f, "{key}>{values}")?,
                Operator::LessThan => write!(f, "{key}<{values}")?,
            }
        }
        Ok(())
    }
}

fn is_name_part(s: &str) -> bool {
    let b = s.as_bytes();
    (1..=63).contains(&b.len())
        && b.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
        && b[0].is_ascii_alphanumeric()
        && b[b.len() - 1].is_ascii_alphanumeric()
}

/// Whether `s` is a label (or annotation) key: a name of at most 63 characters, with an optional DNS prefix and a slash.
pub fn is_label_key(s: &str) -> bool {
    match s.split_once('/') {
        Some((prefix, name)) => crate::ids::is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(s),
    }
}

/// Whether `s` is a label value: empty, or a name of at most 63 characters.
pub fn is_label_value(s: &str) -> bool {
    s.is_empty() || is_name_part(s)
}

/// A field selector: terms that must all hold, e.g. `spec.nodeName=a,status.phase!=Failed`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// The terms.
    pub terms: Vec<FieldTerm>,
}

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// E.g. `spec.nodeName`.
    pub path: String,
    /// `true` for `=` and `==`, `false` for `!=`.
    pub equal: bool,
    /// The value.
    pub value: String,
}

impl FieldSelector {
    /// Parses the query form. A backslash escapes `\`, `,` and `=` in values.
    ///
    /// # Errors
    /// [`SelectorError`] that names the offending part.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let wrong = || SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'"));
            let (at, sign) = first_sign(part).ok_or_else(wrong)?;
            let (path, value) = (part[..at].to_owned(), unescape(&part[at + sign.len()..])?);
            terms.push(FieldTerm { path, equal: sign != "!=", value });
        }
        Ok(Self { terms })
    }

    /// Whether the selector matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether the fields, given as a look-up of values (missing ones as empty), fulfil every term.
    pub fn matches(&self, field: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|t| (field(&t.path) == t.value) == t.equal)
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        if c == ',' && !escaped {
            parts.push(&text[start..i]);
            start = i + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&text[start..]);
    parts
}

/// Where the first sign of a term stands, and which it is.
fn first_sign(term: &str) -> Option<(usize, &'static str)> {
    term.char_indices().find_map(|(i, _)| {
        let sign = ["!=", "==", "="].into_iter().find(|sign| term[i..].starts_with(sign))?;
        Some((i, sign))
    })
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let wrong = |what: String| SelectorError(format!("invalid field selector: {what}"));
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                other => {
                    let sequence = other.map_or_else(String::new, String::from);
                    return Err(wrong(format!("invalid escape sequence: \\{sequence}")));
                }
            },
            // Go prints the character's number.
            '=' => return Err(wrong(format!("unescaped character in value: {}", u32::from(c)))),
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let look = |key: &str| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        LabelSelector::parse(selector).expect(selector).matches(look)
    }

    #[test]
    fn label_selectors_mean_what_kubernetes_says() {
        let web = &[("app", "web"), ("gen", "4")];
        for (selector, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("tier!=a", true),
            ("app in (web, api)", true),
            ("app notin (web)", false),
            ("tier notin (x)", true),
            ("gen>3", true),
            ("gen<3", false),
            ("app=web,gen>3", true),
            ("app=web,!gen", false),
            ("app=", false),
        ] {
            assert_eq!(matches(selector, web), expected, "{selector}");
        }
    }

    #[test]
    fn malformed_label_selectors_are_refused() {
        for selector in ["a in b", "a in (b", "a b", "(a)", "a=b=c", "gen>x", "a,,b", "-a", "a in ((b))", "!"] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn field_selectors_split_compare_and_unescape() {
        let field = |p: &str| match p {
            "a" => "1".to_owned(),
            "b" => "x,y".to_owned(),
            _ => String::new(),
        };
        for (selector, expected) in [("a=1", true), ("a!=1", false), ("a==1,b=x\\,y", true), ("c=", true), ("", true)] {
            assert_eq!(FieldSelector::parse(selector).expect(selector).matches(field), expected, "{selector}");
        }
        for (selector, expected) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            ("a===c", "invalid field selector: unescaped character in value: 61"),
            ("a=x\\", "invalid field selector: invalid escape sequence: \\"),
            ("a=x\\y", "invalid field selector: invalid escape sequence: \\y"),
        ] {
            assert_eq!(FieldSelector::parse(selector).map_err(|e| e.0), Err(expected.to_owned()), "{selector}");
        }
    }
}
