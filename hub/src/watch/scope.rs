//! What a list or a watch is about.

use std::sync::Arc;

use skiff_shared::selector::{FieldSelector, LabelSelector};

use crate::registry::{Kind, Registry};
use crate::store::{Meta, Object};

/// A kind, narrowed by namespace and selectors. Lists and watches judge objects by the same [`Scope::matches`].
#[derive(Debug, Clone)]
pub struct Scope {
    /// The kind.
    pub kind: Arc<Kind>,
    /// One namespace; `None` or empty for all.
    pub namespace: Option<String>,
    /// `labelSelector`.
    pub labels: LabelSelector,
    /// `fieldSelector`. The API refuses fields that the kind does not have; here they count as empty.
    pub fields: FieldSelector,
}

impl Scope {
    /// Whether an object belongs.
    pub fn matches(&self, registry: &Registry, object: &Object) -> bool {
        self.matches_by(object, |path| registry.field(&self.kind, object, path).unwrap_or_default())
    }

    /// Cheap tests first: fields mean parsing the object.
    fn matches_by(&self, object: &Object, field: impl Fn(&str) -> String) -> bool {
        object.key.resource == self.kind.storage
            && self.namespace.as_deref().is_none_or(|n| n.is_empty() || n == &*object.key.namespace)
            && self.labels.matches(|key| label(&object.meta, key))
            && self.fields.matches(field)
    }
}

fn label<'a>(meta: &'a Meta, key: &str) -> Option<&'a str> {
    let at = meta.labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
    Some(&meta.labels[at].1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Hooks;
    use crate::store::Key;

    fn pods() -> Arc<Kind> {
        let hooks = Hooks {
            parts: &[],
            default: |_| (),
            prepare_create: |_| (),
            prepare_update: |_, _| (),
            validate: |_, _| Vec::new(),
            warn: |_, _| Vec::new(),
            field: |_, _| None,
            has_generation: false,
            validate_status: None,
            next_generation: |_, _| false,
            columns: &[],
            row: |_, _| Vec::new(),
            row_fields: &[],
            completed: |_| None,
            from_stored: None,
            to_stored: None,
        };
        Arc::new(Kind {
            group: "",
            version: "v1",
            kind: "Pod",
            list_kind: "PodList",
            plural: "pods",
            singular: "pod",
            short_names: &[],
            categories: &[],
            namespaced: true,
            subresources: &[],
            schema: "",
            storage: "pods".into(),
            hooks,
        })
    }

    #[test]
    fn every_part_of_a_scope_narrows() {
        let object = |resource: &str, namespace: &str| {
            let key = Key { resource: resource.into(), namespace: namespace.into(), name: "a".into() };
            Object::encode(key, 1, json!({"metadata": {"labels": {"app": "web", "tier": "front"}}})).unwrap()
        };
        let cases = [
            (None, "", "", true),
            (Some(""), "", "", true),
            (Some("default"), "", "", true),
            (Some("other"), "", "", false),
            (None, "app=web", "", true),
            (None, "app=web,tier!=front", "", false),
            (None, "!absent", "", true),
            (None, "", "spec.nodeName=edge", true),
            (None, "", "spec.nodeName!=edge", false),
            (None, "", "unknown=", true),
            (Some("default"), "tier", "spec.nodeName=edge", true),
        ];
        for (namespace, labels, fields, expected) in cases {
            let scope = Scope {
                kind: pods(),
                namespace: namespace.map(str::to_owned),
                labels: LabelSelector::parse(labels).unwrap(),
                fields: FieldSelector::parse(fields).unwrap(),
            };
            let field = |path: &str| if path == "spec.nodeName" { "edge".into() } else { String::new() };
            assert_eq!(scope.matches_by(&object("pods", "default"), field), expected, "{scope:?}");
            assert!(!scope.matches_by(&object("nodes", "default"), field), "another resource");
        }
    }
}
