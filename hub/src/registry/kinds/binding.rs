//! `v1` Binding: only ever created, which binds the pod it names. It is never stored.

use crate::registry::Kind;
use crate::registry::hooks::PLAIN;

/// The row.
pub(in crate::registry) fn kind() -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind: "Binding",
        list_kind: "",
        plural: "bindings",
        singular: "binding",
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema: "io.k8s.api.core.v1.Binding",
        storage: "bindings".into(),
        hooks: PLAIN,
    }
}
