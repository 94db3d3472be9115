//! The desired state of this node: every item by key, with its digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_shared::pod::{Item, ItemKey};
use skiff_shared::report::{NodeReport, PodReport};
use skiff_shared::ids::PodUid;
use skiff_shared::wire::Digest;

/// Everything this node is to know. Cheap to clone behind its `Arc`s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// The items, each with the digest of its encoding.
    pub items: BTreeMap<ItemKey, (Digest, Arc<Item>)>,
}

/// Everything this node reports, as it now stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reported {
    /// The node's status, once known.
    pub node: Option<Arc<NodeReport>>,
    /// The status of each pod the node knows.
    pub pods: BTreeMap<PodUid, Arc<PodReport>>,
}
