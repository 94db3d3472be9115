//! Gives each node its own part of the pod network.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::json;

use super::view::Node;
use crate::reconcile::view;
use crate::reconcile::{Controller, EventDraft, Memo, Plan, PlannedWrite};
use crate::store::{Event, EventKind, Key, Object, Snapshot};

/// Length of a node's prefix: 254 addresses, more than twice the pods a node may have.
const NODE_PREFIX: u8 = 24;

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: u32,
    prefix: u8,
}

/// Why a text is no IPv4 network that can be shared out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 network of at most /24, such as 10.42.0.0/16")]
pub struct CidrError(String);

impl Cidr {
    /// Parses `10.42.0.0/16`; bits below the prefix are dropped.
    ///
    /// # Errors
    /// [`CidrError`], also for networks smaller than one node's part.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > NODE_PREFIX {
            return Err(wrong());
        }
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Ok(Self { address: address.to_bits() & mask, prefix })
    }

    /// The parts for nodes, in order.
    fn parts(self) -> impl Iterator<Item = Self> {
        let count = 1_u32 << (NODE_PREFIX - self.prefix).min(31);
        (0..count).map(move |i| Self { address: self.address | (i << (32 - NODE_PREFIX)), prefix: NODE_PREFIX })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.address), self.prefix)
    }
}

/// The allocator of node networks. One key: two nodes must not choose at the same time.
#[derive(Debug)]
pub struct NodeIpam {
    network: Cidr,
    nodes: Memo<Node>,
}

impl NodeIpam {
    /// Shares out a pod network.
    pub fn new(network: Cidr) -> Self {
        Self { network, nodes: Memo::new(2000) }
    }
}

impl Controller for NodeIpam {
    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let lacks = |o: &Object| self.nodes.get(o).is_some_and(|n| n.spec.pod_cidr.is_empty());
        let ours = &*event.object.key.resource == "nodes";
        if ours && (event.kind == EventKind::Deleted || lacks(&event.object)) { self.all(snapshot) } else { Vec::new() }
    }

    fn all(&self, _snapshot: &Snapshot) -> Vec<Key> {
        vec![view::key("nodes", "", "")]
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let nodes: Vec<_> = snapshot.list(&key.resource, None).filter_map(|o| Some((o, self.nodes.get(o)?))).collect();
        let taken: HashSet<Cidr> = nodes.iter().filter_map(|(_, n)| Cidr::parse(&n.spec.pod_cidr).ok()).collect();
        let mut free = self.network.parts().filter(|part| !taken.contains(part));
        let mut plan = Plan::nothing();
        for (object, _) in nodes.iter().filter(|(_, n)| n.spec.pod_cidr.is_empty()) {
            match free.next() {
                Some(part) => plan.writes.push(assign(object, part)),
                None => plan.events.push(exhausted(object)),
            }
        }
        if !plan.writes.is_empty() {
            plan.why = format!("{} nodes without a pod network", plan.writes.len());
        }
        plan
    }
}

fn assign(node: &Object, part: Cidr) -> PlannedWrite {
    let part = part.to_string();
    PlannedWrite::Patch {
        key: node.key.clone(),
        subresource: "",
        patch: json!({"metadata": {"uid": &*node.meta.uid}, "spec": {"podCIDR": part, "podCIDRs": [part]}}),
    }
}

fn exhausted(node: &Object) -> EventDraft {
    EventDraft {
        about: node.key.clone(),
        uid: node.meta.uid.to_string(),
        warning: false,
        reason: "CIDRNotAvailable",
        message: format!("Node {} status is now: CIDRNotAvailable", node.key.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_parse_and_split_into_node_parts() {
        let network = Cidr::parse("10.42.3.7/22").unwrap();
        assert_eq!(network.to_string(), "10.42.0.0/22");
        let parts: Vec<String> = network.parts().map(|p| p.to_string()).collect();
        assert_eq!(parts, ["10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24"]);
        for wrong in ["10.42.0.0", "10.42.0.0/25", "banana/16", "10.42.0/16", "10.0.0.0/-1", ""] {
            assert_eq!(Cidr::parse(wrong), Err(CidrError(wrong.to_owned())));
        }
    }
}
