//! The end-to-end harness: real hub and agent binaries, a Podman per node, kubectl, and a link that can be cut.
//!
//! Start with [`Cluster`]; everything it holds is stopped and removed when it is dropped, and what the hub and the
//! agents logged is printed when a test fails. Tests wait for conditions with [`wait_for`] and never sleep.
//!
//! What needs no real Podman is tested faster with [`sim::World`]: the same hub and agents inside the test's process.

pub mod api;
pub mod cluster;
pub mod helm;
pub mod hub;
pub mod kubectl;
pub mod lab;
pub mod measure;
pub mod node;
pub mod podman;
pub mod process;
pub mod registry;
pub mod relay;
pub mod sim;
pub mod steps;
pub mod wait;

pub use cluster::Cluster;
pub use helm::Helm;
pub use hub::Hub;
pub use kubectl::Kubectl;
pub use lab::Lab;
pub use node::Node;
pub use wait::{poll, wait_for};
