//! Path elements in the form of `FieldsV1`: `f:NAME` a field or an entry of a map, `k:{…}` an item of a list by its
//! keys, `v:…` an item by its value, `i:N` an item by its position.

use serde_json::{Map, Value};

/// The element of a field or of an entry of a map.
pub(super) fn field(name: &str) -> Box<str> {
    format!("f:{name}").into()
}

/// The element of an item of a list of scalars.
pub(super) fn value(item: &Value) -> Box<str> {
    format!("v:{item}").into()
}

/// The element of an item that nothing but its position tells apart.
pub(super) fn position(index: usize) -> Box<str> {
    format!("i:{index}").into()
}

/// The element of an item of a list of objects. Of keys that it does not give, those with a default count as given;
/// `Err` names the first of the others.
pub(super) fn keyed<'k>(item: &Value, keys: &[&'k str]) -> Result<Box<str>, &'k str> {
    let mut given = Map::new();
    for key in keys {
        let value = item.get(*key).cloned().or_else(|| default_of(key)).ok_or(*key)?;
        given.insert((*key).to_owned(), value);
    }
    Ok(format!("k:{}", Value::Object(given)).into())
}

/// The one merge key of Kubernetes' types that has a default.
fn default_of(key: &str) -> Option<Value> {
    (key == "protocol").then(|| "TCP".into())
}

/// The name of the field that an element is.
pub(super) fn field_name(element: &str) -> Option<&str> {
    element.strip_prefix("f:")
}

/// The element in the one form that this module writes; `None` when it is malformed.
pub(super) fn canonical(element: &str) -> Option<Box<str>> {
    let (kind, rest) = element.split_once(':')?;
    match kind {
        "f" => Some(element.into()),
        "i" => rest.parse::<i64>().ok().map(|index| format!("i:{index}").into()),
        "v" => serde_json::from_str(rest).ok().map(|item: Value| value(&item)),
        "k" => {
            serde_json::from_str(rest).ok().map(|keys: Map<String, Value>| format!("k:{}", Value::Object(keys)).into())
        }
        _ => None,
    }
}

/// The element as people read it: `.spec`, `[name="web"]`, `[="a"]`, `[0]`.
pub(super) fn readable(element: &str) -> String {
    let (kind, rest) = element.split_once(':').unwrap_or(("", element));
    match kind {
        "f" => format!(".{rest}"),
        "v" => format!("[={rest}]"),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        _ => format!("[{rest}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_told_apart_by_their_keys() {
        let port = json!({"containerPort": 80, "name": "http"});
        assert_eq!(
            keyed(&port, &["containerPort", "protocol"]).as_deref(),
            Ok(r#"k:{"containerPort":80,"protocol":"TCP"}"#)
        );
        assert_eq!(keyed(&port, &["ip"]), Err("ip"));
    }

    #[test]
    fn elements_read_as_kubernetes_prints_them() {
        for (element, text) in [
            ("f:app.kubernetes.io/name", ".app.kubernetes.io/name"),
            (r#"k:{"containerPort":80,"protocol":"TCP"}"#, r#"[containerPort=80,protocol="TCP"]"#),
            (r#"v:"a""#, r#"[="a"]"#),
            ("i:3", "[3]"),
        ] {
            assert_eq!(readable(element), text);
        }
    }
}
