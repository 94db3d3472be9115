//! Who a user is and what it may do: RBAC and node authorization as pure functions of a snapshot, and the tokens of
//! service accounts.
//!
//! The members of `system:masters` may do everything and cost nothing; everyone else is judged by the roles and bindings
//! of a snapshot, which are parsed once for as long as none of them changes.

pub mod bootstrap_token;
mod controllers;
pub mod defaults;
pub mod escalation;
pub mod jwt;
mod node;
mod policy;
mod rules;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Deserializer};

pub use node::{NODE_PREFIX, node_name, refused_token};
pub use policy::{Policy, RoleRef};
pub use rules::Rule;

use crate::store::Snapshot;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of everyone who is known.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The user of whoever shows no credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of everyone who is not known.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of all nodes.
pub const NODES: &str = "system:nodes";

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// E.g. `kubernetes-admin`, `system:node:edge-1`.
    pub name: String,
    /// E.g. `system:masters`.
    pub groups: Vec<String>,
    /// May be empty.
    pub uid: String,
    /// What else is known, e.g. `authentication.kubernetes.io/pod-name` of a service account's token.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// One of the hub's own parts, e.g. `deployment-controller` (`system:serviceaccount:kube-system:deployment-controller`).
    pub fn component(name: &str) -> Self {
        let name = format!("system:serviceaccount:kube-system:{name}");
        Self { name, groups: vec![MASTERS.into()], ..Self::default() }
    }

    /// Whether it may do everything.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|g| g == MASTERS)
    }
}

/// What a request wants to do, as authorization sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// `get`, `list`, …; for paths the HTTP method in lower case.
    pub verb: &'a str,
    /// API group of the resource.
    pub group: &'a str,
    /// `pods`; empty for a request about a path.
    pub resource: &'a str,
    /// `log`; may be empty.
    pub subresource: &'a str,
    /// Namespace; empty for cluster scope.
    pub namespace: &'a str,
    /// Name; may be empty.
    pub name: &'a str,
    /// The path of a request about no resource; else empty.
    pub path: &'a str,
    /// The node that a field selector `spec.nodeName=NODE` confines a list or watch to; empty without one.
    pub node: &'a str,
}

impl Attributes<'_> {
    /// Whether it is about a resource, not a path.
    pub fn is_resource(&self) -> bool {
        self.path.is_empty()
    }
}

/// The answer of the authorizers, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub allowed: bool,
    /// E.g. `RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to User "z"`; often empty for a refusal.
    pub reason: String,
}

/// Judges requests. Keeps the policy of the newest snapshot it has seen.
#[derive(Debug, Default)]
pub struct Authorizer {
    policy: Mutex<Arc<Policy>>,
}

impl Authorizer {
    /// Whether a user may do something in a state of the world: masters always, nodes what concerns them, everyone what
    /// roles grant.
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>, snapshot: &Snapshot) -> Decision {
        if user.is_master() {
            return Decision { allowed: true, reason: String::new() };
        }
        let mut reasons = Vec::new();
        if let Some(node) = node::node_name(user) {
            let decision = node::authorize(node, attributes, snapshot);
            if decision.allowed {
                return decision;
            }
            reasons.push(decision.reason);
        }
        let decision = self.policy(snapshot).authorize(user, attributes);
        if decision.allowed {
            return decision;
        }
        reasons.push(decision.reason);
        reasons.retain(|r| !r.is_empty());
        Decision { allowed: false, reason: reasons.join("\n") }
    }

    /// The roles and bindings of a snapshot.
    pub fn policy(&self, snapshot: &Snapshot) -> Arc<Policy> {
        let mut kept = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.revision() != snapshot.revision() {
            *kept = Policy::newer(&kept, snapshot);
        }
        Arc::clone(&kept)
    }
}

/// Reads `null` as what a missing field reads as.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A value of a Secret's `data`; empty when it is missing or malformed.
fn decoded(value: &serde_json::Value) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default()
}
