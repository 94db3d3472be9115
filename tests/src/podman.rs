//! A Podman per node, with storage, networks and configuration of its own, served on a socket.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::lab::Netns;
use crate::process::{Process, command, output, run};
use crate::wait::wait_for;

/// `podman system service` inside a network namespace. Dropping it removes every container it has.
#[derive(Debug)]
pub struct PodmanService {
    netns: String,
    dir: PathBuf,
    process: Option<Process>,
}

impl PodmanService {
    /// Starts one in `dir`.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start(netns: &Netns, dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("Podman's directory can be made");
        fs::write(dir.join("containers.conf"), containers_conf(dir)).expect("Podman's configuration can be written");
        // Any registry in the lab speaks plain HTTP.
        let registries = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", netns.lab().gateway());
        fs::write(dir.join("registries.conf"), registries).expect("Podman's registries can be written");
        let mut service = Self { netns: netns.name().into(), dir: dir.into(), process: None };
        service.serve();
        service
    }

    /// Starts the service again after [`PodmanService::stop`].
    ///
    /// # Panics
    /// When it does not answer.
    pub fn serve(&mut self) {
        let socket = self.socket();
        drop(fs::remove_file(&socket));
        let mut service = self.command();
        service.args(["system", "service", "--time=0"]).arg(format!("unix://{}", socket.display()));
        self.process = Some(Process::start("podman", service, &self.dir.join("service.log")));
        wait_for(20, "Podman's socket", || match request(&socket, "GET", "/libpod/_ping", None) {
            Ok((200, _)) => Ok(()),
            other => Err(format!("a ping gives {other:?}")),
        });
    }

    /// Ends the service; containers keep running.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("podman.sock")
    }

    /// Process id of the service.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Runs `podman ARGUMENTS` (separated by spaces) over the same storage.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn cli(&self, arguments: &str) -> String {
        run(self.command().args(arguments.split(' ')))
    }

    /// One call of the libpod API, e.g. `("POST", "/libpod/pods/create", Some(body))`: the status and the answer.
    ///
    /// # Panics
    /// When the service does not answer.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        request(&self.socket(), method, path, body).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// Builds an image from the machine's static busybox.
    ///
    /// # Panics
    /// When it fails.
    pub fn image(&self, name: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image");
        let mut build = Command::new(script);
        build.arg(name).args(self.options()).envs(self.environment());
        run(&mut build);
    }

    /// Removes every container at once, as a power cut would.
    pub fn lose_containers(&self) {
        for what in ["pod", "container"] {
            drop(output(self.command().args([what, "rm", "--all", "--force", "--time=0"])));
        }
    }

    /// Ids of the running containers with their names, infra containers included.
    pub fn running(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.cli("ps --no-trunc --format {{.ID}}={{.Names}}").lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn command(&self) -> Command {
        let mut command = command(Some(&self.netns), "podman");
        // conmon writes files of its own into the directory it is started in.
        command.args(self.options()).envs(self.environment()).current_dir(&self.dir);
        command
    }

    fn options(&self) -> [String; 3] {
        let option = |name: &str, dir: &str| format!("--{name}={}", self.dir.join(dir).display());
        [option("root", "root"), option("runroot", "run"), option("network-config-dir", "networks")]
    }

    fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("CONTAINERS_CONF", self.dir.join("containers.conf")),
            ("CONTAINERS_REGISTRIES_CONF", self.dir.join("registries.conf")),
        ]
    }
}

impl Drop for PodmanService {
    fn drop(&mut self) {
        self.lose_containers();
    }
}

/// Podman's defaults need systemd and `CAP_SYS_RESOURCE`, which test machines may lack. Locks are files in the
/// node's own directory: the default, one shared-memory segment for the machine, is emptied by each new node.
fn containers_conf(dir: &Path) -> String {
    format!(
        r#"[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
lock_type = "file"
tmp_dir = "{}/tmp"
"#,
        dir.display()
    )
}

/// One HTTP/1.0 request over a Unix socket: the server then closes the connection after its plain answer.
fn request(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, Value)> {
    let mut stream = UnixStream::connect(socket)?;
    let body = body.map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} /v4.0.0{path} HTTP/1.0\r\nHost: podman\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok((status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.into()))))
}
