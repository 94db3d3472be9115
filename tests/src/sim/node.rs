//! A whole agent inside the test's process on a Podman of memory only.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skiff_agent::link::{self, LinkConfig};
use skiff_agent::podman::fake::FakePodman;
use skiff_agent::podman::{Listed, RunState};
use skiff_agent::pods::context::Clock;
use skiff_agent::run::{self, Settings};
use skiff_shared::ids::NodeName;
use skiff_shared::telemetry::Chain;
use tokio::runtime::Builder;

use super::life::Life;
use crate::relay::Relay;

/// A node. Its Podman and its data outlive its agent.
#[derive(Debug)]
pub struct Node {
    name: NodeName,
    dir: PathBuf,
    token: String,
    /// Its Podman.
    pub podman: Arc<FakePodman>,
    /// Its way to the hub.
    pub relay: Relay,
    agent: Option<Life>,
}

impl Node {
    /// A machine with these images on which no agent runs yet.
    pub(super) fn new(name: &str, dir: &Path, hub: SocketAddr, token: String, images: &[&str]) -> Self {
        let podman = Arc::new(FakePodman::default());
        images.iter().for_each(|image| podman.add_image(image));
        let name = NodeName::parse(name).expect("a test's node has a valid name");
        Self { name, dir: dir.into(), token, podman, relay: Relay::start(Ipv4Addr::LOCALHOST, hub), agent: None }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Starts the agent (again).
    ///
    /// # Panics
    /// When there is no runtime to be had.
    pub fn start(&mut self) {
        let settings = Settings {
            data_dir: self.dir.clone(),
            node: self.name.clone(),
            node_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            podman: "fake".into(),
            clock: Clock::System,
        };
        let config = LinkConfig {
            data_dir: self.dir.clone(),
            hub: self.relay.address().to_string(),
            join_token: Some(self.token.clone()),
            node: self.name.clone(),
            version: "0".into(),
        };
        let podman = Arc::clone(&self.podman);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        self.agent = Some(Life::start(runtime, |stop| async move {
            let ended = run::run(&settings, podman, |node, stop| link::run(config, node, stop), stop).await;
            ended.map_err(|error| Chain(&error).to_string())
        }));
    }

    /// Asks the agent to end: it says goodbye to the hub. Containers run on.
    pub fn stop(&mut self) {
        self.agent.take().into_iter().for_each(Life::stop);
    }

    /// Kills the agent: the hub hears nothing of it. Containers run on.
    pub fn kill(&mut self) {
        self.agent.take().into_iter().for_each(Life::kill);
    }

    /// The machine loses power and comes back: containers are stopped, then the agent starts.
    pub fn reboot(&mut self) {
        self.kill();
        self.podman.reboot();
        self.start();
    }

    /// Uids of pods with a running container, once for each such container, sorted.
    pub fn running(&self) -> Vec<String> {
        self.uids(|c| !c.infra && c.state == RunState::Running)
    }

    /// Uids of pods of which there is anything, sorted.
    pub fn present(&self) -> Vec<String> {
        let mut uids = self.uids(|_| true);
        uids.dedup();
        uids
    }

    fn uids(&self, wanted: impl Fn(&Listed) -> bool) -> Vec<String> {
        let containers = self.podman.containers().into_iter();
        let mut uids: Vec<_> = containers.filter(wanted).map(|c| c.labels.pod_uid).collect();
        uids.sort();
        uids
    }
}
