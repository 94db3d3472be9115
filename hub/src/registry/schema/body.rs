//! Parses request bodies, with bounds on size and depth, and finds what `serde_json::Value` would hide: duplicate keys.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use skiff_shared::limits::MAX_REQUEST_BODY;

use super::duplicate_keys;

/// How deep a YAML body may nest. The parser recurses, and a thread's stack is 2 MiB; `serde_json` has its own limit (128).
const MAX_DEPTH: usize = 64;
/// Nodes that a YAML body may add by aliases: an alias bomb costs milliseconds, and no manifest comes near.
const MAX_ALIASED: usize = 50_000;
/// How many duplicates are told.
const MAX_DUPLICATES: usize = 100;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

/// Why a body cannot be parsed. The text is the cause for [`super::unrecognized`].
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than [`MAX_REQUEST_BODY`]: 413.
    #[error("request body exceeds the limit of {MAX_REQUEST_BODY} bytes")]
    TooLarge,
    /// Not JSON.
    #[error("couldn't get version/kind; json parse error: {message}")]
    Json {
        /// In Go's words.
        message: String,
        /// As the parser says it.
        #[source]
        source: serde_json::Error,
    },
    /// Not YAML.
    #[error("error converting YAML to JSON: yaml: {message}")]
    Yaml {
        /// As the parser says it, on one line.
        message: String,
    },
    /// Not protobuf as Kubernetes sends it.
    #[error(
        "couldn't get version/kind; provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NoMagic,
    /// Broken protobuf.
    #[error(transparent)]
    Protobuf(#[from] super::wire::WireError),
    /// Protobuf of a kind that only JSON can carry.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// As sent.
        api_version: String,
        /// As sent.
        kind: String,
    },
}

/// Parses a body. Beside the value come the keys that are given twice: one `duplicate field "spec.replicas"` for each of
/// JSON, one `line 5: key "replicas" already set in map` of YAML. The last one given counts.
///
/// # Errors
/// [`DecodeError`].
pub fn parse_body(bytes: &[u8], content_type: ContentType) -> Result<(Value, Vec<String>), DecodeError> {
    if bytes.len() > MAX_REQUEST_BODY {
        return Err(DecodeError::TooLarge);
    }
    let tracked = match content_type {
        ContentType::Json => serde_json::from_slice::<Tracked>(bytes)
            .map_err(|source| DecodeError::Json { message: go_message(bytes, &source), source })?,
        ContentType::Yaml => parse_yaml(bytes)?,
    };
    let duplicates = match content_type {
        ContentType::Yaml if !tracked.duplicates.is_empty() => duplicate_keys(bytes),
        ContentType::Yaml => Vec::new(),
        ContentType::Json => {
            let of_path = |path: &String| format!("duplicate field {:?}", path.trim_start_matches('.'));
            tracked.duplicates.iter().map(of_path).collect()
        }
    };
    Ok((tracked.value, duplicates))
}

/// How YAML is read: as Kubernetes understands it, and within bounds.
pub(super) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
        // `defaultMode: 0644` is octal for Kubernetes.
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH, max_documents: 2 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED },
    }
}

/// The first document of a YAML stream: Kubernetes reads no further.
pub(super) fn first_document(stream: &[u8]) -> &[u8] {
    let (mut begun, mut end) = (false, 0);
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        let marks =
            |mark: &[u8]| line.strip_prefix(mark).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace));
        if begun && (marks(b"---") || marks(b"...")) {
            return &stream[..end];
        }
        let text = line.trim_ascii();
        begun |= !(text.is_empty() || text.starts_with(b"#") || text.starts_with(b"%"));
        end += line.len();
    }
    stream
}

fn parse_yaml(bytes: &[u8]) -> Result<Tracked, DecodeError> {
    let bytes = first_document(bytes);
    let mut tracked: Tracked = serde_saphyr::from_slice_with_options(bytes, yaml_options()).map_err(|error| {
        let message = error.to_string();
        DecodeError::Yaml { message: message.split_whitespace().collect::<Vec<_>>().join(" ") }
    })?;
    whole_floats(&mut tracked.value);
    Ok(tracked)
}

/// YAML's `3.0` and `1e3` become `3` and `1000` on their way to JSON in Kubernetes.
fn whole_floats(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            // Below 2^53 every whole float is an exact integer.
            let whole = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0);
            if let Some(integer) = whole.and_then(|n| format!("{n:.0}").parse::<i64>().ok()) {
                *number = integer.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_floats),
        Value::Object(object) => object.values_mut().for_each(whole_floats),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What Go's parser would say.
fn go_message(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let text = error.to_string();
    let place = [
        ("expected value", "looking for beginning of value"),
        ("trailing comma", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("trailing characters", "after top-level value"),
    ];
    match (place.iter().find(|(ours, _)| text.starts_with(ours)), character(bytes, error)) {
        (Some((_, place)), Some(found)) => format!("invalid character {} {place}", go_character(found)),
        _ if text.starts_with("recursion limit") => "exceeded max depth".into(),
        _ => text,
    }
}

/// A character in quotes, as Go's parser shows it.
fn go_character(c: char) -> String {
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        '\0'..='\x1f' if !matches!(c, '\t' | '\n' | '\r') => format!("'\\x{:02x}'", u32::from(c)),
        _ => format!("{c:?}"),
    }
}

/// Why a parsed body is no object of any kind, in Go's words; `None` where it may be one.
pub fn no_object(body: &Value) -> Option<String> {
    let found = |value: &Value| match value {
        Value::Null | Value::Object(_) => None,
        Value::Bool(_) => Some("bool"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("array"),
    };
    const START: &str = "couldn't get version/kind; json parse error: json: cannot unmarshal";
    if let Some(found) = found(body) {
        let type_meta =
            r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        return Some(format!("{START} {found} into Go value of type {type_meta}"));
    }
    for field in ["apiVersion", "kind"] {
        let value = &body[field];
        let found = if value.is_object() { Some("object") } else { found(value).filter(|found| *found != "string") };
        if let Some(found) = found {
            return Some(format!("{START} {found} into Go struct field .{field} of type string"));
        }
    }
    let version = body["apiVersion"].as_str().filter(|version| version.matches('/').count() > 1)?;
    Some(format!("unexpected GroupVersion string: {version}"))
}

/// The character at which the parser stopped.
fn character(bytes: &[u8], error: &serde_json::Error) -> Option<char> {
    let line = bytes.split(|b| *b == b'\n').nth(error.line().checked_sub(1)?)?;
    let rest = line.get(error.column().checked_sub(1)?..)?;
    String::from_utf8_lossy(&rest[..rest.len().min(4)]).chars().next()
}

/// A value and the paths (`.spec.replicas`) of keys that were given twice.
struct Tracked {
    value: Value,
    duplicates: Vec<String>,
}

impl From<Value> for Tracked {
    fn from(value: Value) -> Self {
        Self { value, duplicates: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for Tracked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TrackedVisitor)
    }
}

struct TrackedVisitor;

impl<'de> Visitor<'de> for TrackedVisitor {
    type Value = Tracked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tracked, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tracked, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tracked, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tracked, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Tracked, E> {
        Ok(Value::from(value).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Tracked, E> {
        Ok(Value::from(value).into())
    }

    fn visit_unit<E>(self) -> Result<Tracked, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Tracked, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tracked, D::Error> {
        Tracked::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tracked, A::Error> {
        let (mut items, mut duplicates) = (Vec::new(), Vec::new());
        while let Some(item) = seq.next_element::<Tracked>()? {
            adopt(&mut duplicates, item.duplicates, &format!("[{}]", items.len()));
            items.push(item.value);
        }
        Ok(Tracked { value: Value::Array(items), duplicates })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tracked, A::Error> {
        let (mut object, mut duplicates) = (Map::new(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            let child = map.next_value::<Tracked>()?;
            if !child.duplicates.is_empty() || object.contains_key(&key) {
                let path = format!(".{key}");
                adopt(&mut duplicates, child.duplicates, &path);
                if object.contains_key(&key) && duplicates.len() < MAX_DUPLICATES && !duplicates.contains(&path) {
                    duplicates.push(path);
                }
            }
            object.insert(key, child.value);
        }
        Ok(Tracked { value: Value::Object(object), duplicates })
    }
}

fn adopt(duplicates: &mut Vec<String>, of_child: Vec<String>, prefix: &str) {
    let room = MAX_DUPLICATES.saturating_sub(duplicates.len());
    duplicates.extend(of_child.into_iter().take(room).map(|path| format!("{prefix}{path}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use ContentType::{Json, Yaml};
    use serde_json::json;

    fn parse(text: &str, content_type: ContentType) -> Result<(Value, Vec<String>), String> {
        parse_body(text.as_bytes(), content_type).map_err(|error| error.to_string())
    }

    #[test]
    fn duplicates_are_told_with_their_path_and_the_last_counts() {
        let json = r#"{"spec":{"replicas":1,"replicas":2,"c":[{"a":1},{"a":1,"a":2}]}}"#;
        let yaml = "spec:\n  replicas: 1\n  replicas: 2\n  c:\n  - a: 1\n  - a: 1\n    a: 2\n";
        for (text, content_type, expected) in [
            (json, Json, [r#"duplicate field "spec.replicas""#, r#"duplicate field "spec.c[1].a""#]),
            (yaml, Yaml, [r#"line 3: key "replicas" already set in map"#, r#"line 7: key "a" already set in map"#]),
        ] {
            let (value, duplicates) = parse(text, content_type).expect("parses");
            assert_eq!(value, json!({"spec": {"replicas": 2, "c": [{"a": 1}, {"a": 2}]}}));
            assert_eq!(duplicates, expected);
        }
    }

    #[test]
    fn the_first_document_of_a_stream_counts() {
        for stream in [
            "a: 1\n---\n",
            "a: 1\n--- # more\na: 2\n",
            "%YAML 1.1\n# head\n\n---\na: 1\n---\nb: {\n",
            "a: 1\n...\n",
            "---\r\na: 1\r\n---\r\na: 2\r\n",
            "a: 1\n--- [x",
        ] {
            assert_eq!(parse(stream, Yaml), Ok((json!({"a": 1}), vec![])), "{stream:?}");
        }
        for whole in ["a: |\n  ---\nb: ---x\n", "--- \nb: '---'\na: ----\n"] {
            assert_eq!(first_document(whole.as_bytes()), whole.as_bytes());
        }
        let twice = parse("a: 1\na: 2\n---\na: 1\na: 2\n", Yaml).expect("parses");
        assert_eq!(twice, (json!({"a": 2}), vec![r#"line 2: key "a" already set in map"#.to_owned()]));
    }

    #[test]
    fn yaml_means_what_it_means_to_kubernetes() {
        for (text, expected) in [
            ("defaultMode: 0644", json!({"defaultMode": 420})),
            ("a: 3.0\nb: 1e3\nc: 0.5", json!({"a": 3, "b": 1000, "c": 0.5})),
            ("a: \"yes\"\nb: yes", json!({"a": "yes", "b": true})),
            ("a:\nb: ~", json!({"a": null, "b": null})),
            ("a: &x {b: 1}\nc: *x", json!({"a": {"b": 1}, "c": {"b": 1}})),
            ("base: &x {b: 1}\nc:\n  <<: *x\n  d: 2", json!({"base": {"b": 1}, "c": {"b": 1, "d": 2}})),
            ("1: a\nt: 'x'", json!({"1": "a", "t": "x"})),
            ("---\na: |\n  x\n  y\n", json!({"a": "x\ny\n"})),
            ("{\"a\": [1, \"b\"]}", json!({"a": [1, "b"]})),
        ] {
            assert_eq!(parse(text, Yaml), Ok((expected, vec![])), "{text}");
        }
    }

    #[test]
    fn broken_json_is_refused_in_gos_words() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\":", "unexpected end of JSON input"),
            ("{x", "invalid character 'x' looking for beginning of object key string"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
        ] {
            let refusal = format!("couldn't get version/kind; json parse error: {expected}");
            assert_eq!(parse(text, Json), Err(refusal), "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_told_in_gos_words() {
        for (body, expected) in [
            (json!({}), None),
            (json!(null), None),
            (json!({"kind": null, "apiVersion": "apps/v1"}), None),
            (json!({"kind": 5}), Some("json: cannot unmarshal number into Go struct field .kind of type string")),
            (
                json!({"apiVersion": {}}),
                Some("json: cannot unmarshal object into Go struct field .apiVersion of type string"),
            ),
            (json!({"apiVersion": "a/b/c"}), Some("unexpected GroupVersion string: a/b/c")),
            (
                json!([]),
                Some(
                    r#"json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#,
                ),
            ),
        ] {
            let found = no_object(&body);
            let same =
                found.as_deref().zip(expected).map_or(found.is_none() && expected.is_none(), |(f, e)| f.ends_with(e));
            assert!(same, "{body} {found:?}");
        }
    }

    #[test]
    fn bombs_and_broken_yaml_are_refused() {
        let deep_json = "[".repeat(100_000);
        let deep_flow = "[".repeat(100_000);
        let deep_block = "- ".repeat(100_000);
        let laughs = format!(
            "a: &a [x,x,x,x,x,x,x,x,x]\n{}",
            ('b'..='k').zip('a'..='j').fold(String::new(), |out, (n, p)| {
                format!("{out}{n}: &{n} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n")
            })
        );
        for (text, content_type) in [
            (deep_json.as_str(), Json),
            (&deep_flow, Yaml),
            (&deep_block, Yaml),
            (&laughs, Yaml),
            ("a: b: c", Yaml),
            ("a: [", Yaml),
            ("\t\tx: 1\n y", Yaml),
        ] {
            assert!(parse(text, content_type).is_err(), "{}", &text[..text.len().min(40)]);
        }
        assert!(parse_body(&[0xff, 0xfe, 0x00], Yaml).is_err());
        assert!(matches!(parse_body(&vec![b' '; MAX_REQUEST_BODY + 1], Json), Err(DecodeError::TooLarge)));
    }
}
