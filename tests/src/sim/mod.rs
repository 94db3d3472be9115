//! The cluster as a value: the whole hub and whole agents in one process, on Podmans of memory only.
//!
//! Each part has a runtime of its own and ends as a process does, asked or killed; its data stays in a directory.

mod client;
mod hub;
mod life;
mod node;
mod pod;

use serde_json::{Value, json};
use tempfile::TempDir;

pub use client::Client;
pub use node::Node;
pub use pod::{Pod, condition};

use crate::wait::{ensure, wait_for};
use hub::Hub;

/// Images that every node has.
pub const IMAGES: [&str; 2] = ["localhost/web:1", "localhost/web:2"];
/// Where Deployments of the namespace `default` are.
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
/// Longest wait for anything that does not wait for a time-out itself, seconds. The machine may be busy.
const PATIENCE: u64 = 60;

/// A cluster. Fields are dropped in the order they are declared.
#[derive(Debug)]
pub struct World {
    /// A client of the hub.
    pub api: Client,
    /// The nodes, named `node-0`, `node-1`, ….
    pub nodes: Vec<Node>,
    hub: Hub,
    dir: TempDir,
}

impl World {
    /// Starts a hub and `nodes` nodes, and waits until all of them are Ready.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn start(nodes: usize) -> Self {
        Self::with_grace(nodes, "40s")
    }

    /// [`World::start`] with another grace for silent nodes.
    ///
    /// # Panics
    /// When they do not come up.
    pub fn with_grace(nodes: usize, grace: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let hub = Hub::start(&dir.path().join("hub"), grace);
        let mut world = Self { api: Client::new(hub.kubeconfig()), nodes: Vec::new(), hub, dir };
        world.wait_for_hub();
        for index in 0..nodes {
            let name = format!("node-{index}");
            let data = world.dir.path().join(&name);
            let mut node = Node::new(&name, &data, world.hub.address(), world.hub.token(), &IMAGES);
            node.start();
            world.nodes.push(node);
        }
        world.nodes.iter().for_each(|node| world.wait_node(node.name(), "True"));
        world
    }

    /// Asks the hub to end, and waits until it has.
    pub fn stop_hub(&mut self) {
        self.hub.stop();
        self.api.disconnect();
    }

    /// Ends the hub as SIGKILL does.
    pub fn kill_hub(&mut self) {
        self.hub.kill();
        self.api.disconnect();
    }

    /// Starts the hub again on what it left behind, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_hub(&mut self) {
        self.hub.start_again();
        self.wait_for_hub();
    }

    fn wait_for_hub(&self) {
        wait_for(PATIENCE, "the hub to be ready", || self.api.get("/readyz").map(drop));
    }

    /// Waits for the status of a node's condition `Ready`.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_node(&self, name: &str, ready: &str) {
        self.wait(&format!("{name} to have Ready={ready}"), || {
            let node = self.api.get(&format!("/api/v1/nodes/{name}"))?;
            ensure(condition(&node, "Ready") == ready, || format!("it has {node}"))
        });
    }

    /// Waits for a condition, long enough for a busy machine.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
        wait_for(PATIENCE, what, condition)
    }

    /// Makes a Deployment in the namespace `default`.
    ///
    /// # Panics
    /// When the hub refuses it.
    #[track_caller]
    pub fn deploy(&self, name: &str, replicas: u64, image: &str) {
        self.api.create(DEPLOYMENTS, &deployment(name, replicas, image)).expect("the hub takes the Deployment");
    }

    /// Changes the `spec` of a Deployment in the namespace `default`.
    ///
    /// # Panics
    /// When the hub refuses it.
    #[track_caller]
    pub fn change(&self, name: &str, spec: &Value) {
        let path = format!("{DEPLOYMENTS}/{name}");
        self.api.patch(&path, &json!({"spec": spec})).expect("the hub takes the change");
    }

    /// Changes how many pods a Deployment is to have.
    ///
    /// # Panics
    /// When the hub refuses it.
    #[track_caller]
    pub fn scale(&self, name: &str, replicas: u64) {
        self.change(name, &json!({"replicas": replicas}));
    }

    /// All pods of all namespaces, sorted.
    ///
    /// # Errors
    /// When the hub does not tell.
    pub fn pods(&self) -> Result<Vec<Pod>, String> {
        let mut pods: Vec<_> = items(&self.api.get("/api/v1/pods")?).iter().map(Pod::new).collect();
        pods.sort();
        Ok(pods)
    }

    /// Waits until nothing is left to do, then gives all pods: Deployments have what they ask for and there
    /// are no other pods, every pod is ready, and the nodes run exactly these pods.
    ///
    /// # Panics
    /// When it does not come to that.
    #[track_caller]
    pub fn settle(&self) -> Vec<Pod> {
        self.wait("everything to settle", || self.settled())
    }

    /// [`World::settle`], without the wait.
    ///
    /// # Errors
    /// What is left to do.
    pub fn settled(&self) -> Result<Vec<Pod>, String> {
        let deployments = self.api.get("/apis/apps/v1/deployments")?;
        items(&deployments).iter().try_for_each(complete)?;
        let wanted: u64 = items(&deployments).iter().filter_map(|d| d["spec"]["replicas"].as_u64()).sum();
        let pods = self.pods()?;
        // Those of a Deployment that was just deleted are not marked yet.
        ensure(pods.len() as u64 == wanted, || format!("there are {} pods, not {wanted}", pods.len()))?;
        if let Some(pod) = pods.iter().find(|pod| !pod.serves() || pod.phase != "Running") {
            return Err(format!("{pod:?} is not ready"));
        }
        self.nodes.iter().try_for_each(|node| runs_exactly(node, &pods))?;
        Ok(pods)
    }

    /// The node that a pod is on.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn node_of(&self, pod: &Pod) -> &Node {
        self.nodes.iter().find(|node| node.name() == pod.node).expect("a pod is on one of the nodes")
    }

    /// Ends a pod's container as if by itself, with this exit code.
    pub fn crash(&self, pod: &Pod, code: i32) {
        self.node_of(pod).podman.exit(&pod.name, "main", code);
    }
}

/// A Deployment whose pods have one container, `main`, and the label `app`.
pub fn deployment(name: &str, replicas: u64, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    })
}

/// A list's items.
pub fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Whether a Deployment has what it asks for, by its own word.
fn complete(deployment: &Value) -> Result<(), String> {
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or_default();
    let status = &deployment["status"];
    let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    let seen = status["observedGeneration"] == deployment["metadata"]["generation"];
    let all = counts.iter().all(|count| status[count].as_u64().unwrap_or_default() == wanted);
    ensure(seen && all, || format!("of {wanted} replicas of {} there is {status}", deployment["metadata"]["name"]))
}

/// Whether a node runs those of these pods that are bound to it, each once, and holds nothing else.
fn runs_exactly(node: &Node, pods: &[Pod]) -> Result<(), String> {
    let mut bound: Vec<_> = pods.iter().filter(|pod| pod.node == node.name()).map(|pod| pod.uid.clone()).collect();
    bound.sort();
    ensure(node.running() == bound, || format!("{} runs {:?}, not {bound:?}", node.name(), node.running()))?;
    ensure(node.present() == bound, || format!("{} holds {:?}, not {bound:?}", node.name(), node.present()))
}
