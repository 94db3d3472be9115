//! Volumes and their claims: they stay while they are in use, and grow only where their class lets them.

use serde_json::{Value, json};

use super::resources::amounts;
use super::{Request, refuse};
use crate::objects::error::Error;
use crate::objects::meta;
use crate::store::Key;

/// Keeps a claim while pods use it.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Keeps a volume while it is bound.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
const CLAIMS: &str = "persistentvolumeclaims";

/// Gives new volumes and claims their protection.
pub(super) fn protect(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    let target = request.target;
    let finalizer = match &*target.kind.storage {
        CLAIMS => CLAIM_PROTECTION,
        "persistentvolumes" => VOLUME_PROTECTION,
        _ => return Ok(()),
    };
    if request.old.is_none() && target.subresource.is_empty() {
        meta::set_finalizer(object, finalizer, true);
    }
    Ok(())
}

/// Refuses the growth of claims whose class does not allow it. Claims that are not bound are refused by validation.
pub(super) fn grow(request: &Request<'_>, claim: &mut Value) -> Result<(), Error> {
    let target = request.target;
    let Some(old) = request.old.filter(|_| &*target.kind.storage == CLAIMS && target.subresource.is_empty()) else {
        return Ok(());
    };
    let size = |claim: &Value| amounts(&claim["spec"]["resources"]["requests"]).get("storage").map(|q| q.nano());
    if size(claim) <= size(old) || old["status"]["phase"] != "Bound" || may_grow(request, claim, old) {
        return Ok(());
    }
    let detail = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(refuse(request, claim, detail.to_owned()))
}

fn may_grow(request: &Request<'_>, claim: &Value, old: &Value) -> bool {
    let name = class(claim);
    let resource = "storageclasses.storage.k8s.io".into();
    let key = Key { resource, namespace: "".into(), name: name.into() };
    let stored = request.snapshot.get(&key).and_then(|o| o.parse::<Value>().ok());
    !name.is_empty() && name == class(old) && stored.is_some_and(|class| class["allowVolumeExpansion"] == json!(true))
}

fn class(claim: &Value) -> &str {
    let annotated = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    annotated.or(claim["spec"]["storageClassName"].as_str()).unwrap_or_default()
}
