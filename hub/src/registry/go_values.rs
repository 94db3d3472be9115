//! Structs and lists as Go's `%#v` prints them: Kubernetes shows the wrong value so where it is neither text nor number.

use serde_json::Value;

use super::fields::quoted;
use super::json::{get, text};

/// A struct, its fields already printed: `rbac.RoleRef{APIGroup:"", Kind:"Role"}`.
pub(crate) fn shown_struct(name: &str, fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(field, value)| format!("{field}:{value}")).collect();
    format!("{name}{{{}}}", fields.join(", "))
}

/// A struct of texts: pairs of Go's and JSON's names of its fields.
pub(crate) fn shown_texts(name: &str, object: &Value, fields: &[(&str, &str)]) -> String {
    let fields: Vec<(&str, String)> = fields.iter().map(|(go, json)| (*go, quoted(text(object, json)))).collect();
    shown_struct(name, &fields)
}

/// A pointer that is a field. Where it points to something, Kubernetes shows an address, which tells nobody anything.
pub(crate) fn shown_pointer(kind: &str, object: &Value, field: &str) -> String {
    let address = if get(object, field).is_some() { "0xc000000000" } else { "nil" };
    format!("(*{kind})({address})")
}

/// A list of texts of a named type: `networking.PolicyType` as `[]networking.PolicyType{"Ingress"}`.
pub(crate) fn shown_list(kind: &str, items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    if items.is_empty() { format!("[]{kind}(nil)") } else { format!("[]{kind}{{{}}}", items.join(", ")) }
}

/// Bytes: `[]byte{0x1, 0xff}`.
pub(crate) fn shown_bytes(bytes: &[u8]) -> String {
    let items: Vec<String> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
    if items.is_empty() { "[]byte(nil)".into() } else { format!("[]byte{{{}}}", items.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn as_go_prints_them() {
        let object = json!({"kind": "Role", "there": {}});
        assert_eq!(
            shown_texts("rbac.RoleRef", &object, &[("APIGroup", "apiGroup"), ("Kind", "kind")]),
            r#"rbac.RoleRef{APIGroup:"", Kind:"Role"}"#
        );
        assert_eq!(shown_pointer("int64", &object, "away"), "(*int64)(nil)");
        assert_eq!(shown_pointer("int64", &object, "there"), "(*int64)(0xc000000000)");
        assert_eq!(shown_list("a.B", &["x", "y"]), r#"[]a.B{"x", "y"}"#);
        assert_eq!(shown_list("a.B", &[]), "[]a.B(nil)");
        assert_eq!(shown_bytes(&[1, 255]), "[]byte{0x1, 0xff}");
        assert_eq!(shown_bytes(&[]), "[]byte(nil)");
    }
}
