//! How kinds differ in what a PUT may do.

use crate::registry::Kind;

/// Kinds of which a PUT creates what is not there.
const CREATED_BY_UPDATE: [&str; 11] = [
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "endpoints",
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "limitranges",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "runtimeclasses.node.k8s.io",
    "services",
];

/// Kinds of which a PUT must say which state it replaces.
const PINNED: [&str; 6] = [
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "leases.coordination.k8s.io",
    "poddisruptionbudgets.policy",
    "runtimeclasses.node.k8s.io",
    "volumeattachments.storage.k8s.io",
];

/// Kinds whose place in Kubernetes' storage is not called as they are.
const STORED_AS: [(&str, &str); 5] = [
    ("endpoints", "services/endpoints"),
    ("ingresses.networking.k8s.io", "ingress"),
    ("nodes", "minions"),
    ("replicationcontrollers", "controllers"),
    ("services", "services/specs"),
];

/// What Kubernetes' storage calls the objects of a kind.
pub(super) fn stored_as(kind: &Kind) -> &'static str {
    let resource = kind.group_resource();
    STORED_AS.iter().find(|(name, _)| *name == resource).map_or(kind.plural, |(_, stored)| stored)
}

/// Whether a PUT creates what is not there.
pub fn created_by_update(kind: &Kind) -> bool {
    CREATED_BY_UPDATE.contains(&kind.group_resource().as_str())
}

/// Whether a PUT needs a `resourceVersion`.
pub(super) fn is_pinned(kind: &Kind) -> bool {
    PINNED.contains(&kind.group_resource().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn all_of_them_are_served() {
        let served: Vec<String> = Registry::builtin().kinds().iter().map(|kind| kind.group_resource()).collect();
        for name in CREATED_BY_UPDATE.iter().chain(&PINNED) {
            assert!(served.iter().any(|s| s == name), "{name}");
        }
    }
}
