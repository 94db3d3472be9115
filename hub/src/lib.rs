//! The hub: the Kubernetes API, the store, the scheduler and controllers, and the agents' link.
//!
//! A module uses only what stands above it in this list; `run` alone knows all of them.

pub mod config;
pub mod registry;
pub mod store;
pub mod objects;
pub mod watch;
pub mod reconcile;
pub mod scheduler;
pub mod controllers;
pub mod pki;
pub mod link;
pub mod api;
pub mod run;
