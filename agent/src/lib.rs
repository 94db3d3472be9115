//! The agent: runs this node's pods with Podman, by the hub's wishes and without the hub too.
//!
//! A module uses only what stands left of it:
//! `desired < link < ledger < podman, volumes, checks < pods < streams < node < config < run`; `run` alone knows all of them.

pub mod checks;
pub mod config;
pub mod desired;
pub mod ledger;
pub mod link;
pub mod node;
pub mod podman;
pub mod pods;
pub mod run;
pub mod streams;
pub mod volumes;
