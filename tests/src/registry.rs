//! A container registry on the lab's own address, for pulls that succeed and pulls that fail.

use std::net::TcpStream;

use crate::hub::free_port;
use crate::lab::Lab;
use crate::podman::PodmanService;
use crate::process::{Process, command};
use crate::wait::wait_for;

/// Debian's `docker-registry`, without encryption and users.
#[derive(Debug)]
pub struct Registry {
    address: String,
    _process: Process,
}

impl Registry {
    /// Starts one.
    ///
    /// # Panics
    /// When it is not installed (`tests/run` does that) or does not come up.
    pub fn start(lab: &Lab) -> Self {
        let address = format!("{}:{}", lab.gateway(), free_port());
        let dir = lab.dir().join("registry");
        std::fs::create_dir_all(&dir).expect("the registry's directory can be made");
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}/data\nhttp:\n  addr: {address}\n",
            dir.display()
        );
        std::fs::write(&config, text).expect("the registry's configuration can be written");
        let mut serve = command(None, "docker-registry");
        serve.arg("serve").arg(config);
        let process = Process::start("docker-registry", serve, &dir.join("log"));
        wait_for(20, "the registry", || TcpStream::connect(&address).map(drop).map_err(|e| e.to_string()));
        Self { address, _process: process }
    }

    /// The full name of an image in it.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Copies an image from a node's storage into the registry, under `name`; gives the full name.
    ///
    /// # Panics
    /// When the push fails.
    pub fn push(&self, podman: &PodmanService, image: &str, name: &str) -> String {
        let full = self.image(name);
        podman.cli(&format!("push --quiet --tls-verify=false {image} {full}"));
        full
    }
}
