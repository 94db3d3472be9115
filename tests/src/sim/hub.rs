//! The whole hub inside the test's process, as its command runs it.

use std::path::{Path, PathBuf};

use skiff_hub::config::{Config, Flags};
use skiff_shared::telemetry::Chain;
use tokio::runtime::Builder;

use super::life::Life;
use crate::hub::free_port;

/// Threads of the hub's runtime, as its command has them.
const THREADS: usize = 2;

/// A hub. Its data outlives it.
#[derive(Debug)]
pub(super) struct Hub {
    config: Config,
    life: Option<Life>,
}

impl Hub {
    /// Starts one over `dir`.
    pub(super) fn start(dir: &Path, node_grace: &str) -> Self {
        let port = free_port();
        let flags = Flags {
            data_dir: Some(dir.display().to_string()),
            listen: Some(format!("127.0.0.1:{port}")),
            advertise_address: Some("127.0.0.1".into()),
            node_grace: Some(node_grace.into()),
            ..Flags::default()
        };
        let mut hub = Self { config: Config::load(&flags, |_| None).expect("the flags are valid"), life: None };
        hub.start_again();
        hub
    }

    pub(super) fn start_again(&mut self) {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let config = self.config.clone();
        self.life = Some(Life::start(runtime.expect("a runtime starts"), |mut stop| async move {
            let stopped = async move {
                // The sender lives as long as the test.
                let _ = stop.wait_for(|stop| *stop).await;
            };
            skiff_hub::run::run(config, stopped).await.map_err(|error| Chain(&error).to_string())
        }));
    }

    pub(super) fn stop(&mut self) {
        self.life.take().into_iter().for_each(Life::stop);
    }

    pub(super) fn kill(&mut self) {
        self.life.take().into_iter().for_each(Life::kill);
    }

    /// A new join token.
    pub(super) fn token(&self) -> String {
        let day = std::time::Duration::from_secs(86_400);
        skiff_hub::run::tokens::create(&self.config.data_dir, day).expect("a hub makes tokens")
    }

    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.config.listen
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.config.data_dir.join("admin.kubeconfig")
    }
}
