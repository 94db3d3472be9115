//! The controllers: pure functions from the state of the world to a plan, one file or folder each.

pub mod claim;
pub mod deployment;
pub mod replicaset;
#[cfg(test)]
pub(crate) mod testing;
