//! Telling pod templates apart: their identity and their hash.

use serde_json::Value;

/// The label that ties pods to the ReplicaSet of one template.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Letters and digits that cannot form a word by accident; the alphabet of Kubernetes' generated names.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// What makes two templates the same: the JSON with sorted keys, without the hash label and without anything empty.
pub(super) fn identity(template: &Value) -> Box<str> {
    let mut text = String::new();
    write(template, "", &mut text);
    text.into_boxed_str()
}

/// The hash of a template's identity; `collisions` tells apart two templates whose hashes met.
pub(super) fn hash(identity: &str, collisions: i64) -> String {
    let salt = if collisions == 0 { String::new() } else { collisions.to_string() };
    let hash = identity
        .bytes()
        .chain(salt.bytes())
        .fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    hash.to_string().bytes().map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()])).collect()
}

/// Writes a value; nothing for an empty one.
fn write(value: &Value, path: &str, out: &mut String) {
    match value {
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Array(items) => write_list(items, path, out),
        Value::Object(fields) => write_fields(fields, path, out),
    }
}

fn write_list(items: &[Value], path: &str, out: &mut String) {
    if items.is_empty() {
        return;
    }
    out.push('[');
    for item in items {
        write(item, path, out);
        out.push(',');
    }
    out.push(']');
}

fn write_fields(fields: &serde_json::Map<String, Value>, path: &str, out: &mut String) {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut body = String::new();
    for (name, value) in sorted {
        if path == "metadata.labels" && name == HASH_LABEL {
            continue;
        }
        let start = body.len();
        let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        body.push_str(&Value::from(name.as_str()).to_string());
        body.push(':');
        let before = body.len();
        write(value, &inner, &mut body);
        if body.len() == before {
            body.truncate(start);
        } else {
            body.push(',');
        }
    }
    if !body.is_empty() {
        out.push('{');
        out.push_str(&body);
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_label_and_empty_fields_do_not_matter() {
        let a = json!({"metadata": {"labels": {"app": "web"}, "creationTimestamp": null}, "spec": {"securityContext": {}, "containers": [{"name": "a"}]}});
        let b = json!({"spec": {"containers": [{"name": "a", "env": []}]}, "metadata": {"labels": {"pod-template-hash": "x", "app": "web"}}});
        let c = json!({"spec": {"containers": [{"name": "b"}]}, "metadata": {"labels": {"app": "web"}}});
        assert_eq!(identity(&a), identity(&b));
        assert_ne!(identity(&a), identity(&c));
    }

    #[test]
    fn hashes_are_short_safe_and_differ_by_collision_count() {
        let identity = identity(&json!({"spec": {"containers": [{"name": "a"}]}}));
        let (first, second) = (hash(&identity, 0), hash(&identity, 1));
        assert_ne!(first, second);
        for h in [first, second] {
            assert!((1..=10).contains(&h.len()) && h.bytes().all(|c| SAFE.contains(&c)), "{h}");
        }
    }
}
