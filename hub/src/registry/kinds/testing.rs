//! What the tests of kinds share: objects as they are after a create, and their rows.

use serde_json::{Value, json};

use crate::registry::Kind;
use crate::registry::excerpt::Excerpt;

/// A certificate signing request in PEM, in base64.
pub(crate) const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIR01HNENBUUF3RERFS01BZ0dBMVVFQXd3QllUQlpNQk1HQnlxR1NNNDlBZ0VHQ0NxR1NNNDlBd0VIQTBJQQpCSWdZV0ZGSnI4MWpFY205SG1xUjFIenNRL21JV3pmRzB5Uk5kSTI2UFRZYmI4WCtUelBXeTF4NlU4N055a2srCjlrRUJycU51RzMzVmVGaS9pejBLRVc2Z0FEQUtCZ2dxaGtqT1BRUURBZ05JQURCRkFpQVh4SVpueHpVTjZ0eE8KTGszZnNVUjVHUjZxRFVsRytydkFTZVNaNGt1Z05nSWhBS3BuNVBsZ2pxNWNMVStvN1RhWWU2VnRVUm1zMkFJbgo2T1JtZUpQTUhYdGwKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

/// An object named `a` with these fields, as a create leaves it. It is a minute old at Unix time 1767225600.
pub(super) fn created(kind: &Kind, fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": kind.api_version(), "kind": kind.kind,
        "metadata": {"name": "a", "uid": "u-1", "creationTimestamp": "2025-12-31T23:59:00Z"},
    });
    if kind.namespaced {
        object["metadata"]["namespace"] = "default".into();
    }
    json_patch::merge(&mut object, &fields);
    (kind.hooks.default)(&mut object);
    (kind.hooks.prepare_create)(&mut object);
    object
}

/// The cells of an object's row, which are the same from the fields alone that the kind says it looks at.
pub(super) fn cells(kind: &Kind, object: &Value, now: i64) -> Vec<Value> {
    let json = object.to_string();
    let excerpt = Excerpt::parse(json.as_bytes(), kind.hooks.row_fields).unwrap();
    let cells = (kind.hooks.row)(object, now);
    assert_eq!((kind.hooks.row)(&excerpt.value, now), cells);
    cells
}

/// What is wrong with such an object; with `old` fields, what is wrong with changing those to the new.
pub(super) fn complaints(kind: &Kind, fields: Value, old: Option<Value>) -> Vec<String> {
    let old = old.map(|fields| created(kind, fields));
    let mut new = created(kind, fields);
    if let Some(old) = &old {
        (kind.hooks.prepare_update)(&mut new, old);
    }
    (kind.hooks.validate)(&new, old.as_ref()).iter().map(ToString::to_string).collect()
}
