//! The strict check of a JSON body as Kubernetes' own decoder makes it: what the type does not know or the body names
//! twice, in the order of the document. A parsed value has lost that order, so this reads the body once more; that is
//! done only for bodies in which something was found.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Schema;
use super::model::Type;

/// How many fields are told, as in Kubernetes' decoder.
const MAX_TOLD: usize = 100;

impl Schema {
    /// One `unknown field "spec.foo"` or `duplicate field "spec.replicas"` for each field of a body that the type of
    /// `definition` does not know or that is given again. A field that is unknown is not told again as a duplicate.
    pub fn strict_fields(&self, definition: &str, body: &[u8]) -> Vec<String> {
        let mut told = Told { schema: self, path: String::new(), seen: BTreeSet::new(), list: Vec::new() };
        let mut document = serde_json::Deserializer::from_slice(body);
        // The body has been parsed before: it is well-formed.
        let _parsed = Walk { told: &mut told, ty: self.type_of(definition).0 }.deserialize(&mut document);
        told.list
    }
}

/// What has been found so far, and where the walk is.
struct Told<'s> {
    schema: &'s Schema,
    path: String,
    seen: BTreeSet<String>,
    list: Vec<String>,
}

impl Told<'_> {
    /// Tells of a field, once.
    fn tell(&mut self, what: &str, name: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        let text = format!("{what} field \"{}{dot}{name}\"", self.path);
        if self.list.len() < MAX_TOLD && self.seen.insert(text.clone()) {
            self.list.push(text);
        }
    }
}

/// One value of the document, and the type that it is to have.
struct Walk<'w, 's> {
    told: &'w mut Told<'s>,
    ty: Type,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Type::List(element) = self.ty else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let (ty, length) = (self.told.schema.element(element), self.told.path.len());
        for index in 0.. {
            self.told.path.push_str(&format!("[{index}]"));
            let item = seq.next_element_seed(Walk { told: &mut *self.told, ty })?;
            self.told.path.truncate(length);
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let schema = self.told.schema;
        let structure = if let Type::Struct(index) = self.ty { Some(schema.structure(index)) } else { None };
        let structure = structure.filter(|s| !s.fields.is_empty());
        let entry = if let Type::Map(element) = self.ty { Some(schema.element(element)) } else { None };
        let (opaque, part) = (structure.is_none() && entry.is_none(), |name: &str| {
            entry.or_else(|| structure.and_then(|s| schema.field(s, name)).map(|field| field.ty))
        });
        let (mut names, length) = (BTreeSet::new(), self.told.path.len());
        while let Some(name) = map.next_key::<String>()? {
            let ty = part(&name);
            match ty {
                None if !opaque => self.told.tell("unknown", &name),
                Some(_) if names.contains(&name) => self.told.tell("duplicate", &name),
                None | Some(_) => {}
            }
            let Some(ty) = ty else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if length > 0 {
                self.told.path.push('.');
            }
            self.told.path.push_str(&name);
            map.next_value_seed(Walk { told: &mut *self.told, ty })?;
            self.told.path.truncate(length);
            names.insert(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_in_the_order_of_the_document() {
        let body = r#"{
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "dupename", "name": "x", "unknownMeta": "v", "labels": {"app": "a", "app": "b"}},
            "spec": {
                "unknown1": "v", "unknownDupe": "v", "unknownDupe": "w", "paused": true, "paused": false,
                "template": {"spec": {"containers": [{"name": "a"}, {
                    "unknownNested": {"in": 1, "in": 2}, "imagePullPolicy": "Always", "imagePullPolicy": "Never",
                    "resources": {"limits": {"cpu": 1, "cpu": 2}}, "image": 5, "ports": "none"
                }]}}
            },
            "spec": {"unknown1": 1, "other": 1}
        }"#;
        assert_eq!(
            Schema::builtin().strict_fields("io.k8s.api.apps.v1.Deployment", body.as_bytes()),
            [
                r#"duplicate field "metadata.name""#,
                r#"unknown field "metadata.unknownMeta""#,
                r#"duplicate field "metadata.labels.app""#,
                r#"unknown field "spec.unknown1""#,
                r#"unknown field "spec.unknownDupe""#,
                r#"duplicate field "spec.paused""#,
                r#"unknown field "spec.template.spec.containers[1].unknownNested""#,
                r#"duplicate field "spec.template.spec.containers[1].imagePullPolicy""#,
                r#"duplicate field "spec.template.spec.containers[1].resources.limits.cpu""#,
                r#"duplicate field "spec""#,
                r#"unknown field "spec.other""#,
            ]
        );
    }

    #[test]
    fn what_has_no_type_is_not_looked_into() {
        for (definition, body) in [
            ("io.k8s.api.apps.v1.ControllerRevision", r#"{"data": {"a": {"b": 1, "b": 2}, "a": 3}}"#),
            ("com.example.v1.Thing", r#"{"a": 1, "a": 2}"#),
        ] {
            assert_eq!(Schema::builtin().strict_fields(definition, body.as_bytes()), [""; 0]);
        }
        let many: Vec<String> = (0..200).map(|i| format!("\"f{i}\": 1")).collect();
        let body = format!("{{{}}}", many.join(","));
        assert_eq!(Schema::builtin().strict_fields("io.k8s.api.core.v1.Pod", body.as_bytes()).len(), MAX_TOLD);
    }
}
