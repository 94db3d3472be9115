//! Which objects belong to a controller: those it owns and whose labels still match, and orphans that it may adopt.

use serde_json::{Value, json};
use skiff_shared::selector::LabelSelector;

use crate::reconcile::PlannedWrite;
use crate::reconcile::view::selects;
use crate::store::{Object, Owner};

/// An object that owns others.
#[derive(Debug, Clone, Copy)]
pub struct Owning<'a> {
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `ReplicaSet`.
    pub kind: &'a str,
    /// The object.
    pub object: &'a Object,
}

/// What to do about an object found beside a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is ours.
    Owned,
    /// It is an orphan that matches: take it.
    Adopt,
    /// It is ours but matches no longer: let it go.
    Release,
    /// It is someone else's, or does not match.
    Foreign,
}

impl Owning<'_> {
    /// Judges an object by its controller and its labels. A controller that is being deleted takes and gives nothing.
    pub fn claim(&self, selector: &LabelSelector, candidate: &Object) -> Claim {
        let matches = selects(selector, candidate);
        match candidate.controller() {
            Some(owner) if owner.uid != self.object.meta.uid => Claim::Foreign,
            Some(_) if matches || self.object.meta.deleting => Claim::Owned,
            Some(_) => Claim::Release,
            None if matches && !self.object.meta.deleting && !candidate.meta.deleting => Claim::Adopt,
            None => Claim::Foreign,
        }
    }

    /// The write that makes us the controller of an object.
    pub fn adopt(&self, candidate: &Object) -> PlannedWrite {
        let mut owners: Vec<Value> = candidate.meta.owners.iter().map(reference).collect();
        owners.push(self.reference());
        set_owners(candidate, owners)
    }

    /// The write that removes us from the owners of an object.
    pub fn release(&self, candidate: &Object) -> PlannedWrite {
        without_owner(candidate, &self.object.meta.uid)
    }

    /// The owner reference of what this controller creates.
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": self.api_version,
            "kind": self.kind,
            "name": &*self.object.key.name,
            "uid": &*self.object.meta.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        })
    }
}

/// The write that removes the owner of this uid from an object.
pub fn without_owner(dependent: &Object, uid: &str) -> PlannedWrite {
    let owners = dependent.meta.owners.iter().filter(|o| &*o.uid != uid).map(reference).collect();
    set_owners(dependent, owners)
}

/// The write that makes an object block the deletion of none of its owners.
pub fn unblocked(dependent: &Object) -> PlannedWrite {
    let free = |owner: &Owner| {
        let mut value = reference(owner);
        value["blockOwnerDeletion"] = json!(false);
        value
    };
    set_owners(dependent, dependent.meta.owners.iter().map(free).collect())
}

fn set_owners(object: &Object, owners: Vec<Value>) -> PlannedWrite {
    let owners = if owners.is_empty() { Value::Null } else { Value::Array(owners) };
    PlannedWrite::Patch {
        key: object.key.clone(),
        subresource: "",
        patch: json!({"metadata": {
            "uid": &*object.meta.uid,
            "resourceVersion": object.revision.to_string(),
            "ownerReferences": owners,
        }}),
    }
}

fn reference(owner: &Owner) -> Value {
    let mut value = json!({
        "apiVersion": &*owner.api_version, "kind": &*owner.kind, "name": &*owner.name, "uid": &*owner.uid,
    });
    if owner.controller {
        value["controller"] = json!(true);
    }
    if owner.block_owner_deletion {
        value["blockOwnerDeletion"] = json!(true);
    }
    value
}
