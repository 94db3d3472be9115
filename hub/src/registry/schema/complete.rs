//! The form in which Go writes objects: fields that are `omitempty` go when they are empty, others are there even then.
//! Clients see it, and what is stored is compared in it.

use serde_json::{Map, Value};

use super::Schema;
use super::model::{Field, Type};

impl Schema {
    /// Brings an object of the type that `definition` names into that form.
    pub fn complete(&self, definition: &str, object: &mut Value) {
        self.complete_value(self.type_of(definition).0, object);
    }

    /// Brings an object that was stored by an older hub into the form that is stored now.
    pub fn renew(&self, definition: &str, object: &mut Value) {
        self.decode(definition, object);
        self.complete(definition, object);
    }

    /// An object of the type that `definition` names in which nothing is set.
    pub fn empty(&self, definition: &str) -> Value {
        let mut object = Value::Object(Map::new());
        self.complete(definition, &mut object);
        object
    }

    fn complete_value(&self, ty: Type, value: &mut Value) {
        match (ty, value) {
            (Type::Struct(index), Value::Object(object)) => self.complete_struct(index, object),
            (Type::List(element), Value::Array(items)) => {
                let element = self.element(element);
                items.iter_mut().for_each(|item| self.complete_value(element, item));
            }
            (Type::Map(element), Value::Object(entries)) => {
                let element = self.element(element);
                entries.iter_mut().for_each(|(_, entry)| self.complete_value(element, entry));
            }
            _ => {}
        }
    }

    fn complete_struct(&self, index: u16, object: &mut Map<String, Value>) {
        let structure = self.structure(index);
        object.retain(|name, value| self.field(structure, name).is_none_or(|field| !is_omitted(field, value)));
        for field in &structure.fields {
            if field.wire.always && !object.contains_key(field.name) {
                object.insert(field.name.to_owned(), written_empty(field));
            }
            if is_composed(field.ty)
                && let Some(value) = object.get_mut(field.name)
            {
                self.complete_value(field.ty, value);
            }
        }
    }
}

fn is_composed(ty: Type) -> bool {
    matches!(ty, Type::Struct(_) | Type::List(_) | Type::Map(_))
}

/// How a field that is not set is written. A list that the OpenAPI document requires is one, where Go writes null:
/// clients made from that document refuse what is not there.
fn written_empty(field: &Field<'_>) -> Value {
    match field.ty {
        Type::List(_) if field.required => Value::Array(Vec::new()),
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => 0.into(),
        Type::String => "".into(),
        Type::Quantity => "0".into(),
        Type::Struct(_) => Value::Object(Map::new()),
        Type::Bytes | Type::Time | Type::MicroTime | Type::Any | Type::List(_) | Type::Map(_) => Value::Null,
    }
}

/// Whether a field is not written with this value, because it is as if it were not set.
pub(super) fn is_omitted(field: &Field<'_>, value: &Value) -> bool {
    match value {
        Value::Array(items) => (field.wire.always || !field.wire.keep_zero) && items.is_empty(),
        Value::Object(entries) => !field.wire.keep_zero && matches!(field.ty, Type::Map(_)) && entries.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            !field.wire.keep_zero && is_zero(field.ty, value)
        }
    }
}

/// Whether a scalar is the zero value of its type.
pub(super) fn is_zero(ty: Type, value: &Value) -> bool {
    match ty {
        Type::Bool => value == false,
        Type::Int32 | Type::Int64 | Type::Double => value.as_f64() == Some(0.0),
        Type::String | Type::Bytes => value == "",
        Type::Time
        | Type::MicroTime
        | Type::Quantity
        | Type::IntOrString
        | Type::Any
        | Type::Struct(_)
        | Type::List(_)
        | Type::Map(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_take_the_form_that_go_writes() {
        for (definition, given, written) in [
            (
                "io.k8s.api.core.v1.Pod",
                json!({
                    "metadata": {"labels": {}, "finalizers": []},
                    "spec": {
                        "hostNetwork": false, "hostname": "", "automountServiceAccountToken": false, "volumes": [],
                        "terminationGracePeriodSeconds": 0, "securityContext": {}, "nodeSelector": {},
                        "containers": [{"name": "a", "env": [{"name": "A", "value": ""}], "stdin": false, "args": []}],
                    },
                    "status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"name": "a"}]},
                }),
                json!({
                    "metadata": {"creationTimestamp": null},
                    "spec": {
                        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0, "securityContext": {},
                        "containers": [{"name": "a", "env": [{"name": "A"}], "resources": {}}],
                    },
                    "status": {
                        "conditions":
                            [{"type": "Ready", "status": "True", "lastProbeTime": null, "lastTransitionTime": null}],
                        "containerStatuses": [{
                            "name": "a", "state": {}, "lastState": {}, "ready": false, "restartCount": 0, "image": "",
                            "imageID": "",
                        }],
                    },
                }),
            ),
            (
                "io.k8s.api.rbac.v1.Role",
                json!({"rules": []}),
                json!({"metadata": {"creationTimestamp": null}, "rules": null}),
            ),
            ("io.k8s.api.storage.v1.CSINodeSpec", json!({"drivers": null}), json!({"drivers": []})),
            (
                "io.k8s.api.core.v1.ConfigMap",
                json!({"data": {"a": ""}, "binaryData": {}, "immutable": false}),
                json!({"metadata": {"creationTimestamp": null}, "data": {"a": ""}, "immutable": false}),
            ),
            (
                "io.k8s.api.core.v1.PersistentVolumeClaimSpec",
                json!({"storageClassName": ""}),
                json!({"storageClassName": "", "resources": {}}),
            ),
            (
                "io.k8s.api.core.v1.ResourceFieldSelector",
                json!({"resource": "limits.cpu"}),
                json!({"resource": "limits.cpu", "divisor": "0"}),
            ),
            (
                "io.k8s.api.core.v1.ServicePort",
                json!({"port": 80, "nodePort": 0}),
                json!({"port": 80, "targetPort": 0}),
            ),
            ("com.example.v1.Thing", json!({"a": [], "b": ""}), json!({"a": [], "b": ""})),
        ] {
            let mut object = given;
            assert_eq!(Schema::builtin().decode(definition, &mut object).errors, [""; 0]);
            Schema::builtin().complete(definition, &mut object);
            assert_eq!(object, written, "{definition}");
        }
        // Defaults may leave behind what is empty.
        let mut item = json!({"type": "Container", "default": {}});
        Schema::builtin().complete("io.k8s.api.core.v1.LimitRangeItem", &mut item);
        assert_eq!(item, json!({"type": "Container"}));
    }
}
