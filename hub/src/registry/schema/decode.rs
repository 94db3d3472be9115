//! Type checks as Go's JSON decoder makes them, and the clean-up that comes with decoding into typed structs: unknown
//! fields, nulls and what is empty go, quantities and times take their canonical form.

use serde_json::{Map, Value};

use super::complete::is_omitted;
use super::model::Type;
use super::scalars::{self, Refusal};
use super::{Schema, go_types};

/// How many unknown fields are told; Kubernetes' strict decoder stops at the same number.
const MAX_UNKNOWN: usize = 100;

/// What decoding a body found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoded {
    /// One `unknown field "spec.foo"` per field that was dropped.
    pub unknown: Vec<String>,
    /// Type errors in Go's words; the first is what Kubernetes answers with.
    pub errors: Vec<String>,
}

impl Schema {
    /// Decodes a body of the type that `definition` names, in place. A definition that is not known decodes as it is.
    ///
    /// The body is fit to be stored only when no errors come back.
    pub fn decode(&self, definition: &str, body: &mut Value) -> Decoded {
        self.decode_with(definition, body, Empty::Dropped)
    }

    /// [`Schema::decode`], but what is empty stays: who applies it comes to own it.
    pub fn decode_applied(&self, definition: &str, body: &mut Value) -> Decoded {
        self.decode_with(definition, body, Empty::Kept)
    }

    fn decode_with(&self, definition: &str, body: &mut Value, empty: Empty) -> Decoded {
        let (strict, go) = (String::new(), String::new());
        let mut decoder = Decoder { schema: self, empty, strict, go, owner: "", out: Decoded::default() };
        // A fatal refusal is in the list like every other.
        let _fatal = decoder.value(self.type_of(definition).0, body);
        decoder.out
    }
}

/// What becomes of empty lists and maps and zero scalars in fields that are as good as not set then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Empty {
    Dropped,
    Kept,
}

/// Go gives up on the rest of a body after an error of a custom decoder, but not after a plain type error.
struct Fatal;

struct Decoder<'s> {
    schema: &'s Schema,
    empty: Empty,
    /// Path with indices, as strict errors name it.
    strict: String,
    /// Path of fields only, as type errors name it.
    go: String,
    /// Name of the innermost struct.
    owner: &'static str,
    out: Decoded,
}

impl Decoder<'_> {
    fn value(&mut self, ty: Type, value: &mut Value) -> Result<(), Fatal> {
        let refused = match ty {
            Type::Any => Ok(()),
            Type::Bool => check(value.is_boolean(), "bool"),
            Type::String => check(value.is_string(), go_types::text(self.owner, &self.go)),
            Type::Double => check(value.is_number(), "float64"),
            Type::Int32 => check(value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()), "int32"),
            Type::Int64 => check(value.is_i64(), "int64"),
            Type::Bytes => scalars::bytes(value),
            Type::Time => scalars::time(value),
            Type::MicroTime => scalars::micro_time(value),
            Type::Quantity => scalars::quantity(value),
            Type::IntOrString => scalars::int_or_string(value),
            Type::Struct(index) => return self.structure(ty, index, value),
            Type::List(element) => return self.list(ty, element, value),
            Type::Map(element) => return self.map(ty, element, value),
        };
        match refused {
            Ok(()) => Ok(()),
            Err(Refusal::Type(wanted)) => {
                self.wrong_type(value, wanted);
                Ok(())
            }
            Err(Refusal::Text(text)) => {
                self.out.errors.insert(0, text);
                Err(Fatal)
            }
        }
    }

    fn structure(&mut self, ty: Type, index: u16, value: &mut Value) -> Result<(), Fatal> {
        let Value::Object(object) = value else { return self.refuse(ty, value) };
        let schema = self.schema;
        let structure = schema.structure(index);
        if structure.fields.is_empty() {
            return Ok(());
        }
        let outer = std::mem::replace(&mut self.owner, short(structure.name));
        // Unknown fields are told where they stand, so that the list is in the order of a sorted document.
        let mut dropped = Vec::new();
        for (name, value) in object.iter_mut() {
            let Some(field) = schema.field(structure, name) else {
                self.tell_unknown(name);
                dropped.push(name.clone());
                continue;
            };
            if value.is_null() {
                // A null never reaches the store: it is what an absent field is.
                dropped.push(name.clone());
                continue;
            }
            let (strict, go) = self.enter(name);
            self.value(field.ty, value)?;
            self.leave(strict, go);
            if self.empty == Empty::Dropped && is_omitted(field, value) {
                dropped.push(name.clone());
            }
        }
        for name in &dropped {
            object.remove(name);
        }
        self.owner = outer;
        Ok(())
    }

    fn tell_unknown(&mut self, name: &str) {
        if self.out.unknown.len() < MAX_UNKNOWN {
            let dot = if self.strict.is_empty() { "" } else { "." };
            self.out.unknown.push(format!("unknown field \"{}{dot}{name}\"", self.strict));
        }
    }

    fn list(&mut self, ty: Type, element: u16, value: &mut Value) -> Result<(), Fatal> {
        let Value::Array(items) = value else { return self.refuse(ty, value) };
        let element = self.schema.element(element);
        for (index, item) in items.iter_mut().enumerate() {
            fill_null(element, item);
            let strict = self.strict.len();
            self.strict.push_str(&format!("[{index}]"));
            self.value(element, item)?;
            self.strict.truncate(strict);
        }
        Ok(())
    }

    fn map(&mut self, ty: Type, element: u16, value: &mut Value) -> Result<(), Fatal> {
        let Value::Object(object) = value else { return self.refuse(ty, value) };
        let element = self.schema.element(element);
        for (key, item) in object.iter_mut() {
            fill_null(element, item);
            let (strict, go) = self.enter(key);
            // Type errors do not name keys of maps.
            self.go.truncate(go);
            self.value(element, item)?;
            self.leave(strict, go);
        }
        Ok(())
    }

    fn enter(&mut self, name: &str) -> (usize, usize) {
        let lengths = (self.strict.len(), self.go.len());
        for path in [&mut self.strict, &mut self.go] {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        lengths
    }

    fn leave(&mut self, strict: usize, go: usize) {
        self.strict.truncate(strict);
        self.go.truncate(go);
    }

    fn refuse(&mut self, ty: Type, value: &Value) -> Result<(), Fatal> {
        let wanted = go_types::name(self.schema, ty);
        self.wrong_type(value, &wanted);
        Ok(())
    }

    fn wrong_type(&mut self, value: &Value, wanted: &str) {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            // A number in the wrong place is named only where a number was wanted.
            Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let place =
            if self.go.is_empty() { "value".to_owned() } else { format!("struct field {}.{}", self.owner, self.go) };
        self.out.errors.push(format!("json: cannot unmarshal {found} into Go {place} of type {wanted}"));
    }
}

fn check(fits: bool, wanted: &'static str) -> Result<(), Refusal> {
    if fits { Ok(()) } else { Err(Refusal::Type(wanted)) }
}

/// A null in a list or map is Go's zero value.
fn fill_null(ty: Type, value: &mut Value) {
    if !value.is_null() {
        return;
    }
    *value = match ty {
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => 0.into(),
        Type::String | Type::Bytes => "".into(),
        Type::Quantity => "0".into(),
        Type::Struct(_) | Type::Map(_) => Value::Object(Map::new()),
        Type::List(_) => Value::Array(Vec::new()),
        Type::Time | Type::MicroTime | Type::Any => Value::Null,
    };
}

/// `Pod` of `io.k8s.api.core.v1.Pod`.
fn short(definition: &'static str) -> &'static str {
    definition.rsplit_once('.').map_or(definition, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
    const POD: &str = "io.k8s.api.core.v1.Pod";

    fn decode(definition: &str, mut body: Value) -> (Value, Decoded) {
        let decoded = Schema::builtin().decode(definition, &mut body);
        (body, decoded)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn wrong_types_are_told_in_gos_words() {
        for (definition, body, expected) in [
            (
                DEPLOYMENT,
                json!({"spec": {"replicas": "3"}}),
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                DEPLOYMENT,
                json!({"spec": {"replicas": 3_000_000_000_u64}}),
                "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                DEPLOYMENT,
                json!({"spec": {"replicas": 1.5}}),
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                DEPLOYMENT,
                json!({"spec": "x"}),
                "json: cannot unmarshal string into Go struct field Deployment.spec of type v1.DeploymentSpec",
            ),
            (
                POD,
                json!({"metadata": {"labels": {"a": 1}}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                POD,
                json!({"metadata": {"labels": []}}),
                "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (
                POD,
                json!({"spec": {"containers": {}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                POD,
                json!({"spec": {"containers": [{"env": [{"value": 1}]}]}}),
                "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
            (
                POD,
                json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "banana"}}}]}}),
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            (
                POD,
                json!({"metadata": {"creationTimestamp": 5}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
            ),
            (POD, json!([]), "json: cannot unmarshal array into Go value of type v1.Pod"),
            (
                POD,
                json!({"spec": {"restartPolicy": 5}}),
                "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
            ),
            (
                POD,
                json!({"spec": {"containers": [{"resources": {"limits": []}}]}}),
                "json: cannot unmarshal array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
            ),
            (
                "io.k8s.api.core.v1.Secret",
                json!({"data": {"a": 1}}),
                "json: cannot unmarshal number into Go struct field Secret.data of type []uint8",
            ),
            (
                "io.k8s.api.core.v1.Service",
                json!({"spec": {"ports": [{"targetPort": true}]}}),
                "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
            ),
        ] {
            let (_, decoded) = decode(definition, body);
            assert_eq!(decoded.errors.first().map(String::as_str), Some(expected));
        }
    }

    #[test]
    fn unknown_fields_are_dropped_and_told_with_their_path() {
        let (body, decoded) = decode(
            POD,
            json!({
                "spec": {"containers": [{"name": "a", "imagee": "x"}], "foo": 1}, "bar": null,
                "metadata": {"labels": {"any": "key"}},
            }),
        );
        assert_eq!(body, json!({"spec": {"containers": [{"name": "a"}]}, "metadata": {"labels": {"any": "key"}}}));
        assert_eq!(
            decoded.unknown,
            [r#"unknown field "bar""#, r#"unknown field "spec.containers[0].imagee""#, r#"unknown field "spec.foo""#]
        );
        assert_eq!(decoded.errors, [""; 0]);
    }

    #[test]
    fn nulls_are_absent_fields() {
        let (body, decoded) = decode(
            POD,
            json!({
                "metadata": {"creationTimestamp": null, "labels": {"a": null}},
                "spec": {"containers": [null], "volumes": [{"name": "v", "emptyDir": null}]},
            }),
        );
        assert_eq!(
            body,
            json!({
                "metadata": {"labels": {"a": ""}}, "spec": {"containers": [{}], "volumes": [{"name": "v"}]},
            })
        );
        assert_eq!(decoded, Decoded::default());
    }

    #[test]
    fn quantities_and_times_take_their_canonical_form() {
        let (body, decoded) = decode(
            POD,
            json!({
                "metadata": {"creationTimestamp": "2026-01-02T03:04:05+01:00"},
                "spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]},
            }),
        );
        assert_eq!(
            body,
            json!({
                "metadata": {"creationTimestamp": "2026-01-02T02:04:05Z"},
                "spec": {"containers": [{"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]},
            })
        );
        assert_eq!(decoded, Decoded::default());
    }

    #[test]
    fn what_has_no_schema_is_kept() {
        let (body, decoded) = decode("com.example.v1.Thing", json!({"a": null, "b": [1, "x"]}));
        assert_eq!(body, json!({"a": null, "b": [1, "x"]}));
        assert_eq!(decoded, Decoded::default());
    }

    /// JSON made of names that pods know, so that types meet where they should not.
    fn anything() -> impl Strategy<Value = Value> {
        let names =
            ["spec", "containers", "name", "env", "resources", "limits", "cpu", "metadata", "labels", "volumes", "x"];
        let name = move || prop::sample::select(names.to_vec()).prop_map(str::to_owned);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z0-9.]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name(), inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_body_is_decoded_or_refused_and_decodes_to_itself(body in anything()) {
            let (once, decoded) = decode(POD, body);
            if decoded.errors.is_empty() {
                let (twice, again) = decode(POD, once.clone());
                prop_assert_eq!(twice, once);
                prop_assert_eq!(again, Decoded::default());
            }
        }
    }
}
