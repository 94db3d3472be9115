//! Built-in admission: one ordered chain that every create and update passes after defaulting.
//!
//! A plugin sees the request and the newest state, may change the object, and may refuse it. Webhooks will be
//! further entries of the same list. ResourceQuota comes after all of them: it counts what is really stored
//! ([`super::quota`]).

mod certificates;
mod default_class;
mod escalation;
mod limit_ranger;
mod node_restriction;
mod pod_security;
mod priority;
pub(super) mod resources;
mod runtime_class;
pub(super) mod service_account;
pub(super) mod storage;
mod taint_nodes;
#[cfg(test)]
mod tests;
mod tolerations;

use std::cell::RefCell;
use std::sync::Arc;

use serde_json::Value;

use super::error::{Error, not_found};
use super::pod_security::PodSecurity;
use super::{AuditAnnotations, Objects, Target, User, meta};
use crate::auth::Authorizer;
use crate::store::{Key, Object, Snapshot};

/// What a plugin sees.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// What is written.
    pub(super) target: &'a Target,
    /// The stored object; `None` on create.
    pub(super) old: Option<&'a Value>,
    /// The newest state.
    pub(super) snapshot: &'a Snapshot,
    /// Who writes.
    pub(super) user: &'a User,
    /// Judges what users may do.
    pub(super) authorizer: &'a Authorizer,
    /// What Pod Security is to hold to.
    pub(super) pod_security: &'a PodSecurity,
    /// What the audit log is to know.
    pub(super) audit: &'a AuditAnnotations,
    /// Texts for `Warning` headers.
    pub(super) warnings: RefCell<Vec<String>>,
}

impl Request<'_> {
    fn creates_pod(&self) -> bool {
        self.old.is_none() && is_pod(self.target)
    }
}

fn is_pod(target: &Target) -> bool {
    &*target.kind.storage == Objects::PODS && target.subresource.is_empty()
}

fn refuse(request: &Request<'_>, object: &Value, detail: String) -> Error {
    let name = meta::text(object, "name").to_owned();
    Error::Forbidden { resource: request.target.kind.group_resource(), name, detail }
}

/// One plugin of the chain.
type Plugin = fn(&Request<'_>, &mut Value) -> Result<(), Error>;

/// The chain, in the order in which Kubernetes runs its own.
const CHAIN: [(&str, Plugin); 14] = [
    ("NamespaceLifecycle", namespace_lifecycle),
    ("LimitRanger", limit_ranger::check),
    ("ServiceAccount", service_account::check),
    ("NodeRestriction", node_restriction::check),
    ("TaintNodesByCondition", taint_nodes::check),
    ("PodSecurity", pod_security::check),
    ("Priority", priority::check),
    ("DefaultTolerationSeconds", tolerations::check),
    ("DefaultStorageClass, DefaultIngressClass", default_class::check),
    ("StorageObjectInUseProtection", storage::protect),
    ("PersistentVolumeClaimResize", storage::grow),
    ("RuntimeClass", runtime_class::check),
    ("CertificateApproval, CertificateSigning, CertificateSubjectRestriction", certificates::check),
    ("RBAC", escalation::check),
];

/// Runs the chain.
pub(super) fn admit(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    CHAIN.iter().try_for_each(|(name, plugin)| {
        plugin(request, object).inspect_err(|e| tracing::debug!(plugin = name, error = %e, "refused"))
    })
}

/// Nothing is created in a namespace that does not exist or is being deleted.
fn namespace_lifecycle(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    if request.old.is_some() || !request.target.kind.namespaced {
        return Ok(());
    }
    let target = request.target;
    if namespace_of(target, request.snapshot).is_none() {
        return Err(not_found(Objects::NAMESPACES, &target.namespace));
    }
    namespace_goes_on(target, meta::text(object, "name"), request.snapshot)
}

/// Nothing is created in a namespace that is being deleted.
pub(super) fn namespace_goes_on(target: &Target, name: &str, snapshot: &Snapshot) -> Result<(), Error> {
    if namespace_of(target, snapshot).is_some_and(|namespace| namespace.meta.deleting) {
        return Err(Error::NamespaceTerminating {
            resource: target.kind.group_resource(),
            name: name.to_owned(),
            namespace: target.namespace.clone(),
        });
    }
    Ok(())
}

fn namespace_of<'a>(target: &Target, snapshot: &'a Snapshot) -> Option<&'a Arc<Object>> {
    let name = target.namespace.as_str().into();
    snapshot.get(&Key { resource: Objects::NAMESPACES.into(), namespace: "".into(), name })
}
