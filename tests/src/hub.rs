//! The real hub binary on a free port.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::api::Api;
use crate::process::{Process, binary, command, run};
use crate::wait::wait_for;

/// A hub. Dropping it kills it; its data stays in its directory.
#[derive(Debug)]
pub struct Hub {
    dir: PathBuf,
    port: u16,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Hub {
    /// Starts one over `dir` and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(dir: &Path, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(dir).expect("the hub's directory can be made");
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let mut hub = Self { dir: dir.into(), port: free_port(), arguments, process: None };
        hub.start_again();
        hub
    }

    /// Starts it again after [`Hub::kill9`] or [`Hub::stop`], and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start_again(&mut self) {
        let mut serve = command(None, binary("skiff-hub"));
        serve.args(["serve", "--advertise-address", "127.0.0.1", "--data-dir"]).arg(&self.dir);
        serve.arg("--listen").arg(format!("0.0.0.0:{}", self.port)).args(&self.arguments);
        self.process = Some(Process::start("skiff-hub", serve, &self.dir.with_extension("log")));
        wait_for(30, "the hub to be ready", || {
            if let Some(status) = self.process.as_mut().and_then(Process::exited) {
                panic!("the hub ended with {status}: {}", self.log());
            }
            let api = Api::from_kubeconfig(&self.kubeconfig()).map_err(|e| format!("its kubeconfig gives {e}"))?;
            match api.blocking("GET", "/readyz") {
                Ok(reply) if reply.status == 200 => Ok(()),
                other => Err(format!("/readyz gives {other:?}")),
            }
        });
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it does not end in order.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let status = process.terminate();
            assert!(status.success(), "the hub ended with {status}: {}", process.log());
        }
    }

    /// SIGKILL and a new start.
    pub fn restart(&mut self) {
        self.kill9();
        self.start_again();
    }

    /// A new join token.
    ///
    /// # Panics
    /// When the hub's command fails.
    pub fn token(&self) -> String {
        run(Command::new(binary("skiff-hub")).args(["token", "create", "--data-dir"]).arg(&self.dir)).trim().to_owned()
    }

    /// Its data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The port of API and link.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// A client of its API.
    ///
    /// # Panics
    /// When the kubeconfig is not as it should be.
    pub fn api(&self) -> Api {
        Api::from_kubeconfig(&self.kubeconfig()).expect("the kubeconfig works")
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }
}

/// A port that is free for TCP and UDP.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let free = || {
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        let port = tcp.local_addr().ok()?.port();
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok().map(|_| port)
    };
    (0..100).find_map(|_| free()).expect("a port is free")
}
