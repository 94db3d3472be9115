//! One machine of the cluster: a network namespace, its Podman and the real agent binary.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::lab::{Lab, Netns};
use crate::podman::PodmanService;
use crate::process::{Process, binary, command};

/// A node. Dropping it kills the agent, then removes containers and namespace.
#[derive(Debug)]
pub struct Node {
    name: String,
    dir: PathBuf,
    hub: SocketAddr,
    arguments: Vec<String>,
    agent: Option<Process>,
    /// Its Podman.
    pub podman: PodmanService,
    /// Its network.
    pub netns: Netns,
}

impl Node {
    /// Makes a machine with Podman and the images `localhost/test:1` and `:2`; the agent is not started yet.
    pub fn prepare(lab: &std::sync::Arc<Lab>, name: &str, hub: SocketAddr) -> Self {
        let netns = lab.netns();
        let dir = lab.dir().join(name);
        let podman = PodmanService::start(&netns, &dir.join("podman"));
        podman.image("localhost/test:1");
        podman.image("localhost/test:2");
        Self { name: name.into(), dir, hub, arguments: Vec::new(), agent: None, podman, netns }
    }

    /// Starts the agent with a token, as a machine that joins for the first time.
    pub fn join(&mut self, token: &str) {
        let file = self.dir.join("join-token");
        fs::write(&file, token).expect("the token can be written");
        self.arguments = vec!["--join-token-file".into(), file.display().to_string()];
        self.start();
    }

    /// Starts the agent (again).
    pub fn start(&mut self) {
        let mut agent = command(Some(self.netns.name()), binary("skiff-agent"));
        agent.args(["run", "--node-name", &self.name, "--data-dir"]).arg(self.data_dir());
        agent.args(["--hub", &self.hub.to_string(), "--node-ip", &self.netns.address().to_string()]);
        agent.arg("--podman").arg(format!("unix://{}", self.podman.socket().display())).args(&self.arguments);
        self.agent = Some(Process::start("skiff-agent", agent, &self.dir.join("agent.log")));
    }

    /// SIGKILLs the agent; its containers keep running.
    pub fn kill9(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill9();
        }
    }

    /// SIGTERMs the agent and waits for its end; its containers keep running.
    ///
    /// # Panics
    /// When it does not end in order.
    pub fn stop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let status = agent.terminate();
            assert!(status.success(), "the agent ended with {status}: {}", agent.log());
        }
    }

    /// Lets the agent reach the hub at another address, from its next start.
    pub fn reach_hub_at(&mut self, hub: SocketAddr) {
        self.hub = hub;
    }

    /// The name of the node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The agent's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("agent")
    }

    /// Process id of the agent, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Process::pid)
    }

    /// Everything the agent logged.
    pub fn log(&self) -> String {
        fs::read_to_string(Path::new(&self.dir).join("agent.log")).unwrap_or_default()
    }
}
