//! A small table of kinds for the tests of discovery and OpenAPI.

use std::sync::Arc;

use super::super::{Hooks, Kind, Registry};

fn hooks() -> Hooks {
    Hooks {
        parts: &[],
        default: |_| {},
        prepare_create: |_| {},
        prepare_update: |_, _| {},
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
    }
}

fn core(
    kind: &'static str,
    list_kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    schema: &'static str,
) -> Kind {
    Kind {
        group: "",
        version: "v1",
        kind,
        list_kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: true,
        subresources: &[],
        schema,
        storage: plural.into(),
        hooks: hooks(),
    }
}

/// Namespaces, pods, events (two views) and deployments.
pub(crate) fn registry() -> Registry {
    let kinds = [
        Kind {
            namespaced: false,
            short_names: &["ns"],
            subresources: &["finalize", "status"],
            ..core("Namespace", "NamespaceList", "namespaces", "namespace", "io.k8s.api.core.v1.Namespace")
        },
        Kind {
            short_names: &["po"],
            categories: &["all"],
            subresources: &["binding", "log", "status"],
            ..core("Pod", "PodList", "pods", "pod", "io.k8s.api.core.v1.Pod")
        },
        core("Event", "EventList", "events", "event", "io.k8s.api.core.v1.Event"),
        Kind {
            group: "apps",
            short_names: &["deploy"],
            categories: &["all"],
            subresources: &["status", "scale"],
            storage: "deployments.apps".into(),
            ..core("Deployment", "DeploymentList", "deployments", "deployment", "io.k8s.api.apps.v1.Deployment")
        },
        Kind { group: "events.k8s.io", ..core("Event", "EventList", "events", "event", "io.k8s.api.events.v1.Event") },
    ];
    Registry { kinds: kinds.into_iter().map(Arc::new).collect() }
}
