//! The whole hub inside the test's process, as its command runs it.

use std::path::{Path, PathBuf};

use skiff_hub::config::{Config, Flags};
use skiff_shared::telemetry::Chain;
use tokio::runtime::Builder;

use super::life::Life;
use crate::hub::free_port;
use crate::wait::wait_for;

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

    /// SQLite works on a thread of its own, which outlives the runtime by what it is just writing.
    pub(super) fn kill(&mut self) {
        self.life.take().into_iter().for_each(Life::kill);
        wait_for(30, "the killed hub's database to be closed", || {
            let open = open_files().find(|path| path.starts_with(&self.config.data_dir));
            open.map_or(Ok(()), |path| Err(format!("{} is open", path.display())))
        });
    }

    /// A new join token.
    pub(super) fn token(&self) -> String {
        let day = std::time::Duration::from_secs(86_400);
        skiff_hub::run::tokens::create(&self.config.data_dir, day).expect("a hub makes tokens")
    }

    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.config.listen
    }

    /// The administrator's kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.config.data_dir.join("admin.kubeconfig")
    }
}

/// Files that this process has open.
fn open_files() -> impl Iterator<Item = PathBuf> {
    let handles = std::fs::read_dir("/proc/self/fd").expect("Linux lists open files");
    handles.filter_map(|handle| std::fs::read_link(handle.ok()?.path()).ok())
}
