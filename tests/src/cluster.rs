//! A hub, its nodes and a kubectl that talks to it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::hub::Hub;
use crate::kubectl::Kubectl;
use crate::lab::Lab;
use crate::node::Node;
use crate::wait::{ensure, wait_for};

/// A running cluster. Fields are dropped in the order they are declared.
#[derive(Debug)]
pub struct Cluster {
    /// kubectl, as the administrator.
    pub kubectl: Kubectl,
    /// The nodes, named `node-0`, `node-1`, ….
    pub nodes: Vec<Node>,
    /// The hub.
    pub hub: Hub,
    /// The ground they stand on.
    pub lab: Arc<Lab>,
}

impl Cluster {
    /// Starts a hub and `nodes` nodes, and waits until all of them are Ready.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[])
    }

    /// [`Cluster::start`] with more arguments for the hub.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_with(nodes: usize, hub_arguments: &[&str]) -> Self {
        let lab = Lab::claim();
        let hub = Hub::start(&lab.dir().join("hub"), hub_arguments);
        let kubectl = Kubectl::new(&hub.kubeconfig());
        let mut cluster = Self { kubectl, nodes: Vec::new(), hub, lab };
        for index in 0..nodes {
            let mut node = Node::prepare(&cluster.lab, &format!("node-{index}"), cluster.hub_address());
            node.join(&cluster.hub.token());
            cluster.nodes.push(node);
        }
        cluster.nodes.iter().for_each(|node| cluster.wait_node(node.name(), "True"));
        cluster
    }

    /// Where nodes reach the hub.
    pub fn hub_address(&self) -> SocketAddr {
        SocketAddr::from((self.lab.gateway(), self.hub.port()))
    }

    /// Waits for the status of a node's Ready condition.
    ///
    /// # Panics
    /// When it does not come within a minute.
    #[track_caller]
    pub fn wait_node(&self, name: &str, ready: &str) {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        wait_for(60, &format!("{name} to have Ready={ready}"), || {
            let status = self.kubectl.attempt(&["get", "node", name, "-o", path])?;
            ensure(status == ready, || format!("it is {status:?}"))
        });
    }

    /// Waits until `jsonpath` of an object (e.g. `pod/web`, `pods -l app=web`) is `expected`.
    ///
    /// # Panics
    /// When it does not come to that within `seconds`.
    #[track_caller]
    pub fn wait_value(&self, seconds: u64, object: &str, jsonpath: &str, expected: &str) {
        let output = format!("jsonpath={jsonpath}");
        wait_for(seconds, &format!("{jsonpath} of {object} to be {expected:?}"), || {
            let get = ["get"].into_iter().chain(object.split(' ')).chain(["-o", &output]).collect::<Vec<_>>();
            let value = self.kubectl.attempt(&get)?;
            ensure(value == expected, || format!("it is {value:?}"))
        });
    }
}
