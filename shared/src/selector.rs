//! Label and field selectors, in the forms and with the meaning Kubernetes gives them
//! (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>).

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
#[error("unable to parse requirement: {0}")]
pub struct SelectorError(pub String);

impl LabelSelector {
    /// Parses the query form: `app=web,tier in (a, b),!old,gen>3`.
    ///
    /// # Errors
    /// [`SelectorError`] that names the offending part.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        split_outside_parentheses(text)?
            .into_iter()
            .map(parse_requirement)
            .collect::<Result<_, _>>()
            .map(|requirements| Self { requirements })
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

fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, SelectorError> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' if depth == 0 => depth = 1,
            ')' if depth == 1 => depth = 0,
            '(' | ')' => return Err(SelectorError(format!("found '{c}', unexpected here in {text:?}"))),
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err(SelectorError(format!("found '', expected: ',' or ')' in {text:?}")));
    }
    parts.push(&text[start..]);
    if parts.len() == 1 && parts[0].trim().is_empty() {
        parts.clear();
    }
    Ok(parts)
}

fn parse_requirement(text: &str) -> Result<Requirement, SelectorError> {
    let text = text.trim();
    let requirement = if let Some(key) = text.strip_prefix('!') {
        Requirement { key: key.trim().to_owned(), operator: Operator::DoesNotExist, values: Vec::new() }
    } else if let Some((head, list)) = text.split_once('(') {
        set_requirement(text, head, list)?
    } else {
        let relations = [
            ("!=", Operator::NotIn),
            ("==", Operator::In),
            ("=", Operator::In),
            (">", Operator::GreaterThan),
            ("<", Operator::LessThan),
        ];
        match relations.iter().find_map(|(sign, op)| text.split_once(sign).map(|(k, v)| (k, *op, v))) {
            Some((key, operator, value)) => {
                Requirement { key: key.trim().to_owned(), operator, values: vec![value.trim().to_owned()] }
            }
            None => Requirement { key: text.to_owned(), operator: Operator::Exists, values: Vec::new() },
        }
    };
    check(&requirement)?;
    Ok(requirement)
}

fn set_requirement(text: &str, head: &str, list: &str) -> Result<Requirement, SelectorError> {
    let wrong = || SelectorError(format!("found {text:?}, expected: in, notin, =, ==, !=, gt, lt"));
    let (key, word) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
    let operator = match word {
        "in" => Operator::In,
        "notin" => Operator::NotIn,
        _ => return Err(wrong()),
    };
    let list = list.trim().strip_suffix(')').ok_or_else(wrong)?;
    let values = list.split(',').map(|v| v.trim().to_owned()).collect();
    Ok(Requirement { key: key.trim().to_owned(), operator, values })
}

fn check(requirement: &Requirement) -> Result<(), SelectorError> {
    if !is_label_key(&requirement.key) {
        return Err(SelectorError(format!(
            "key: Invalid value: {:?}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            requirement.key
        )));
    }
    let ordered = matches!(requirement.operator, Operator::GreaterThan | Operator::LessThan);
    for value in &requirement.values {
        if !is_label_value(value) {
            return Err(SelectorError(format!(
                "values[0][{}]: Invalid value: {value:?}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                requirement.key
            )));
        }
        if ordered && value.parse::<i64>().is_err() {
            return Err(SelectorError(format!(
                "values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            )));
        }
    }
    Ok(())
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
            let (path, equal, value) = [("!=", false), ("==", true), ("=", true)]
                .iter()
                .find_map(|(sign, equal)| part.split_once(sign).map(|(p, v)| (p, *equal, v)))
                .ok_or_else(wrong)?;
            terms.push(FieldTerm { path: path.to_owned(), equal, value: unescape(value).ok_or_else(wrong)? });
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

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| "\\,=".contains(*c))?),
            '=' => return None,
            _ => out.push(c),
        }
    }
    Some(out)
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
        assert!(FieldSelector::parse("a").is_err());
        assert!(FieldSelector::parse("a=b=c").is_err());
    }
}
