//! The hub: the Kubernetes API, the store, the scheduler and controllers, and the agents' link.
//!
//! A module uses only what stands left of it:
//! `registry < store < auth < objects < watch < reconcile < scheduler, controllers < pki < link < api < config < run`;
//! `run` alone knows all of them.

pub mod api;
pub mod auth;
pub mod config;
pub mod controllers;
pub mod link;
pub mod objects;
pub mod pki;
pub mod reconcile;
pub mod registry;
pub mod run;
pub mod scheduler;
pub mod store;
pub mod watch;
