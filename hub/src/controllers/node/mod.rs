//! Controllers of nodes: life cycle, taints, eviction, and pod networks.

mod eviction;
mod ipam;
mod lifecycle;
mod taints;
#[cfg(test)]
mod tests;
mod view;

pub use eviction::TaintEviction;
pub use ipam::{Cidr, CidrError, NodeIpam};
pub use lifecycle::NodeLifecycle;
