//! Paths and errors of validation, printed as Kubernetes' `field.Path` and `field.Error` print them.

use std::fmt;

use serde_json::Value;

use super::{FieldError, FieldErrorKind};

/// The path of a field: `spec.containers[0].image`, `data[key]`.
#[derive(Debug, Clone)]
pub(crate) struct Path(String);

impl Path {
    /// A top-level field.
    pub(crate) fn new(field: &str) -> Self {
        Self(field.to_owned())
    }

    /// The object as a whole.
    pub(crate) fn whole() -> Self {
        Self::new("[]")
    }

    /// A field of this object.
    pub(crate) fn child(&self, field: &str) -> Self {
        if self.0.is_empty() { Self::new(field) } else { Self(format!("{}.{field}", self.0)) }
    }

    /// An item of this list.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of this map.
    pub(crate) fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, path: &Path, kind: FieldErrorKind, detail: impl Into<String>) {
        self.0.push(FieldError { field: path.0.clone(), kind, detail: detail.into() });
    }

    /// A missing value.
    pub(crate) fn required(&mut self, path: &Path, detail: &str) {
        self.add(path, FieldErrorKind::Required, detail);
    }

    /// A wrong value; `shown` is how Go prints it (see [`quoted`] and [`shown`]).
    pub(crate) fn invalid(&mut self, path: &Path, shown: impl Into<String>, detail: impl Into<String>) {
        self.add(path, FieldErrorKind::Invalid(shown.into()), detail);
    }

    /// One error for each complaint about a text.
    pub(crate) fn invalid_text(&mut self, path: &Path, text: &str, complaints: Vec<String>) {
        for complaint in complaints {
            self.invalid(path, quoted(text), complaint);
        }
    }

    /// A value outside of a closed set.
    pub(crate) fn not_supported(&mut self, path: &Path, text: &str, supported: &[&str]) {
        self.shown_not_supported(path, quoted(text), supported);
    }

    /// As [`Errors::not_supported`], of a value that is no text.
    pub(crate) fn shown_not_supported(&mut self, path: &Path, shown: impl Into<String>, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|s| quoted(s)).collect();
        let detail = format!("supported values: {}", list.join(", "));
        self.add(path, FieldErrorKind::NotSupported(shown.into()), detail);
    }

    /// A value that occurs twice; `shown` as for [`Errors::invalid`].
    pub(crate) fn duplicate(&mut self, path: &Path, shown: impl Into<String>) {
        self.add(path, FieldErrorKind::Duplicate(shown.into()), "");
    }

    /// As [`Errors::duplicate`], with a reason.
    pub(crate) fn duplicate_because(&mut self, path: &Path, shown: impl Into<String>, detail: &str) {
        self.add(path, FieldErrorKind::Duplicate(shown.into()), detail);
    }

    /// A field that may not be set or changed.
    pub(crate) fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.add(path, FieldErrorKind::Forbidden, detail);
    }

    /// A value of more than `limit` bytes.
    pub(crate) fn too_long(&mut self, path: &Path, limit: usize) {
        self.add(path, FieldErrorKind::TooLong, format!("may not be more than {limit} bytes"));
    }

    /// A list of `count` items, of which there may be `limit`.
    pub(crate) fn too_many(&mut self, path: &Path, count: usize, limit: usize) {
        self.add(path, FieldErrorKind::TooMany(count), format!("must have at most {limit} items"));
    }

    /// A combination of values that is wrong as a whole, and is not shown.
    pub(crate) fn inconsistent(&mut self, path: &Path, detail: impl Into<String>) {
        self.add(path, FieldErrorKind::Inconsistent, detail);
    }

    /// A reference to something that is not there.
    pub(crate) fn not_found(&mut self, path: &Path, text: &str) {
        self.add(path, FieldErrorKind::NotFound(quoted(text)), "");
    }

    /// A number that must not be negative; fine when absent.
    pub(crate) fn non_negative(&mut self, path: &Path, number: Option<i64>) {
        if let Some(number) = number.filter(|n| *n < 0) {
            self.invalid(path, number.to_string(), NOT_NEGATIVE);
        }
    }

    /// A value that may not differ from before.
    pub(crate) fn immutable(&mut self, path: &Path, new: Option<&Value>, old: Option<&Value>) {
        if !super::json::same(new, old) {
            self.invalid(path, shown(new.unwrap_or(&Value::Null)), IMMUTABLE);
        }
    }

    /// An error that was found elsewhere, told of this path.
    pub(crate) fn push(&mut self, path: &Path, error: FieldError) {
        self.0.push(FieldError { field: path.0.clone(), ..error });
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them.
    pub(crate) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }
}

/// Detail for negative numbers.
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// Detail for changed immutable fields.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// A string as Go's `%q` prints it.
pub(crate) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A JSON value as Go prints the typed value in a field error.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => quoted("null"),
        Value::String(text) => quoted(text),
        Value::Object(map) if map.values().all(Value::is_string) => shown_map(Some(value)),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[]string{{{}}}", items.join(", "))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A map of strings as Go prints it: `map[string]string{"a":"b"}`, `map[string]string(nil)`.
pub(crate) fn shown_map(map: Option<&Value>) -> String {
    let Some(map) = map.and_then(Value::as_object) else { return "map[string]string(nil)".into() };
    let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
    pairs.sort_by_key(|(k, _)| *k);
    let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{}:{}", quoted(k), shown(v))).collect();
    format!("map[string]string{{{}}}", pairs.join(", "))
}

/// An `IntOrString` as Go prints it in a field error.
pub(crate) fn shown_int_or_string(value: &Value) -> String {
    match value {
        Value::String(text) => format!("intstr.IntOrString{{Type:1, IntVal:0, StrVal:{}}}", quoted(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            format!("intstr.IntOrString{{Type:0, IntVal:{}, StrVal:\"\"}}", value.as_i64().unwrap_or(0))
        }
    }
}

impl FieldError {
    /// The text without the field: `Invalid value: -1: must be greater than or equal to 0`. It is a cause's `message`.
    pub fn body(&self) -> String {
        let head = match &self.kind {
            FieldErrorKind::Required => "Required value".to_owned(),
            FieldErrorKind::Invalid(value) => format!("Invalid value: {value}"),
            FieldErrorKind::NotSupported(value) => format!("Unsupported value: {value}"),
            FieldErrorKind::Duplicate(value) => format!("Duplicate value: {value}"),
            FieldErrorKind::Forbidden => "Forbidden".to_owned(),
            FieldErrorKind::TooLong => "Too long".to_owned(),
            FieldErrorKind::TooMany(count) => format!("Too many: {count}"),
            FieldErrorKind::Inconsistent => "Invalid value".to_owned(),
            FieldErrorKind::NotFound(value) => format!("Not found: {value}"),
        };
        if self.detail.is_empty() { head } else { format!("{head}: {}", self.detail) }
    }

    /// The cause's `reason`, e.g. `FieldValueInvalid`.
    pub fn reason(&self) -> &'static str {
        match self.kind {
            FieldErrorKind::Required => "FieldValueRequired",
            FieldErrorKind::Invalid(_) | FieldErrorKind::Inconsistent => "FieldValueInvalid",
            FieldErrorKind::NotSupported(_) => "FieldValueNotSupported",
            FieldErrorKind::Duplicate(_) => "FieldValueDuplicate",
            FieldErrorKind::Forbidden => "FieldValueForbidden",
            FieldErrorKind::TooLong => "FieldValueTooLong",
            FieldErrorKind::TooMany(_) => "FieldValueTooMany",
            FieldErrorKind::NotFound(_) => "FieldValueNotFound",
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_print_as_go_prints_them() {
        for (value, text) in [
            (json!("a\"b"), r#""a\"b""#),
            (json!(-1), "-1"),
            (json!(true), "true"),
            (json!(null), r#""null""#),
            (json!({"b": "2", "a": "1"}), r#"map[string]string{"a":"1", "b":"2"}"#),
            (json!(["x", "y"]), r#"[]string{"x", "y"}"#),
        ] {
            assert_eq!(shown(&value), text);
        }
        assert_eq!(shown_int_or_string(&json!(0)), r#"intstr.IntOrString{Type:0, IntVal:0, StrVal:""}"#);
        assert_eq!(shown_int_or_string(&json!("a")), r#"intstr.IntOrString{Type:1, IntVal:0, StrVal:"a"}"#);
    }

    #[test]
    fn errors_print_as_kubernetes_prints_them() {
        let mut errors = Errors::default();
        let containers = Path::new("spec").child("containers");
        errors.required(&containers, "");
        errors.non_negative(&Path::new("spec").child("replicas"), Some(-1));
        errors.not_supported(&containers.index(1).child("imagePullPolicy"), "x", &["Always", "Never"]);
        errors.too_long(&Path::new("data").key("k"), 3);
        let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.containers: Required value",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.containers[1].imagePullPolicy: Unsupported value: "x": supported values: "Always", "Never""#,
                "data[k]: Too long: may not be more than 3 bytes",
            ]
        );
    }
}
