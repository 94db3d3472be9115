//! The real Podman over its socket: podman-api for the calls it gets right, our own small client for the rest.
//!
//! Own client: create (podman-api's options lack fields we need), list and inspect (its structs fail on Podman 5),
//! logs (its decoder panics on unknown bytes and trusts lengths), events (its attributes lose our labels).

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::Method;
use podman_api::opts::{ContainerDeleteOpts, PullOpts, PullPolicy, RegistryAuth};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use skiff_shared::ids::PodUid;

use super::answers::{
    Created, ExecInspection, ImageInspection, InfoAnswer, Inspection, ListEntry, NetworkAnswer, pod_of_event,
};
use super::conmon::Attached;
use super::http::{Client, encode};
use super::labels::NODE;
use super::{
    ByteStream, Connection, ContainerSpec, EventStream, ExecSpec, ExecState, Image, Info, Inspected, Labels, Limits,
    Listed, LogOptions, Login, Network, NetworkSpec, PodSpec, Podman, PodmanError, Result, Terminal, oom, spec,
};

/// How long one call may take; Podman serialises creation, and a 1 GB machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(120);
/// A line of the event stream is a few hundred bytes; labels may add some.
const MAX_EVENT_LINE: usize = 256 * 1024;

/// Podman behind a unix socket.
#[derive(Debug, Clone)]
pub struct RealPodman {
    client: Client,
    api: podman_api::Podman,
    node: String,
}

impl RealPodman {
    /// Podman at `socket` (`unix:///run/podman/podman.sock`), for the containers of `node`. Nothing is connected yet.
    ///
    /// # Errors
    /// When `socket` is no `unix://` address with an absolute path.
    pub fn new(socket: &str, node: &str) -> std::result::Result<Self, String> {
        let path = socket.strip_prefix("unix://").filter(|p| p.starts_with('/'));
        let path = path.ok_or_else(|| format!("{socket:?} is no Podman socket: want unix:///absolute/path"))?;
        let client = Client::new(PathBuf::from(path), PATIENCE);
        Ok(Self { client, api: podman_api::Podman::unix(path), node: node.to_owned() })
    }

    fn error(&self, operation: &str, error: podman_api::Error) -> PodmanError {
        let podman_api::Error::Fault { code, message } = error else {
            return self.unreachable(operation, error);
        };
        match code.as_u16() {
            404 => PodmanError::NotFound { message },
            409 => PodmanError::Conflict { message },
            code => PodmanError::Failed { code, message },
        }
    }

    fn unreachable(&self, operation: &str, source: impl std::error::Error + Send + Sync + 'static) -> PodmanError {
        let socket = self.client.socket();
        PodmanError::Unreachable { operation: operation.to_owned(), socket, source: Box::new(source) }
    }

    async fn bounded<T>(
        &self,
        operation: &str,
        call: impl Future<Output = std::result::Result<T, podman_api::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(result) => result.map_err(|e| self.error(operation, e)),
            Err(late) => Err(self.unreachable(operation, late)),
        }
    }
}

fn filters(pairs: &[(&str, &[&str])]) -> String {
    let map: HashMap<_, _> = pairs.iter().copied().collect();
    encode(&serde_json::to_string(&map).expect("maps with string keys always serialise"))
}

#[async_trait]
impl Podman for RealPodman {
    async fn version(&self) -> Result<String> {
        let answer = self.bounded("ask for the version", self.api.version()).await?;
        Ok(answer.version.unwrap_or_default())
    }

    async fn info(&self) -> Result<Info> {
        let answer: InfoAnswer = self.client.json(Method::GET, "/info", None).await?;
        Ok(Info {
            version: answer.version.version,
            storage_bytes: answer.store.graph_root_allocated,
            storage_used_bytes: answer.store.graph_root_used,
            storage_root: answer.store.graph_root,
        })
    }

    async fn list(&self, pod: Option<&PodUid>) -> Result<Vec<Listed>> {
        let label = pod.map_or_else(|| Labels::node_filter(&self.node), Labels::pod_filter);
        let path = format!("/containers/json?all=true&filters={}", filters(&[("label", &[&label])]));
        let entries: Option<Vec<ListEntry>> = self.client.json(Method::GET, &path, None).await?;
        let ours = |l: &Listed| l.labels.node == self.node;
        Ok(entries.unwrap_or_default().into_iter().filter_map(ListEntry::listed).filter(ours).collect())
    }

    async fn inspect(&self, id: &str) -> Result<Inspected> {
        let path = format!("/containers/{}/json", encode(id));
        let mut inspected = self.client.json(Method::GET, &path, None).await.map(Inspection::inspected)?;
        if inspected.exit_code != 0 && !inspected.oom_killed {
            inspected.oom_killed = oom::killed(id);
        }
        Ok(inspected)
    }

    async fn network(&self, name: &str) -> Result<Option<Network>> {
        match self.client.json::<NetworkAnswer>(Method::GET, &format!("/networks/{}/json", encode(name)), None).await {
            Ok(found) => Ok(Some(Network {
                subnets: found.subnets.into_iter().flatten().map(|s| s.subnet).collect(),
                node: found.labels.and_then(|mut labels| labels.remove(NODE)),
            })),
            Err(PodmanError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<()> {
        self.client.send_json(Method::POST, "/networks/create", spec::network(spec)).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        match self.client.done(Method::DELETE, &format!("/networks/{}", encode(name))).await {
            Err(PodmanError::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create_pod(&self, spec: &PodSpec) -> Result<String> {
        let created: Created = self.client.json(Method::POST, "/pods/create", Some(spec::pod(spec))).await?;
        Ok(created.id)
    }

    async fn create_container(&self, spec: &ContainerSpec) -> Result<String> {
        let body = spec::container(spec);
        let created: Created = self.client.json(Method::POST, "/containers/create", Some(body)).await?;
        Ok(created.id)
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.client.done(Method::POST, &format!("/containers/{}/start", encode(id))).await
    }

    async fn update(&self, id: &str, limits: &Limits) -> Result<()> {
        let path = format!("/containers/{}/update", encode(id));
        match self.client.send_json(Method::POST, &path, spec::update(limits, false)).await {
            // With version 1 of control groups the memory limit cannot pass that of memory and swap together.
            Err(PodmanError::Failed { .. }) if limits.memory_bytes.is_some() => {
                self.client.send_json(Method::POST, &path, spec::update(limits, true)).await
            }
            answer => answer,
        }
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        let container = self.api.containers().get(id);
        match self.bounded("signal a container", container.send_signal(signal)).await {
            // 409: it does not run, so there is nothing to stop.
            Err(PodmanError::Conflict { .. } | PodmanError::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let options = ContainerDeleteOpts::builder().force(true).timeout(0).volumes(true).build();
        let container = self.api.containers().get(id);
        match self.bounded("remove a container", container.delete(&options)).await {
            Err(PodmanError::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn remove_pod(&self, id: &str) -> Result<()> {
        // Own client: podman-api cannot pass the timeout, without which Podman waits 10 s for each container.
        match self.client.done(Method::DELETE, &format!("/pods/{}?force=true&timeout=0", encode(id))).await {
            Err(PodmanError::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>> {
        let path = format!("/images/{}/json", encode(reference));
        let found: ImageInspection = match self.client.json(Method::GET, &path, None).await {
            Err(PodmanError::NotFound { .. }) => return Ok(None),
            answer => answer?,
        };
        let (user, stop_signal) = found.config.map(|c| (c.user, c.stop_signal)).unwrap_or_default();
        let repo_digest = found.repo_digests.unwrap_or_default().into_iter().next().unwrap_or_default();
        Ok(Some(Image { id: found.id, repo_digest, size_bytes: found.size, user, stop_signal }))
    }

    async fn pull(&self, reference: &str, login: Option<&Login>) -> Result<()> {
        let mut builder = PullOpts::builder().reference(reference).policy(PullPolicy::Always).quiet(true);
        if let Some(Login { username, password }) = login {
            builder.auth(RegistryAuth::builder().username(username).password(password).build());
        }
        let options = builder.build();
        let images = self.api.images();
        let mut reports = images.pull(&options);
        while let Some(report) = reports.next().await {
            let report = report.map_err(|e| self.error("pull an image", e))?;
            if let Some(message) = report.error {
                return Err(PodmanError::Failed { code: 0, message });
            }
        }
        Ok(())
    }

    async fn logs(&self, id: &str, options: LogOptions) -> Result<ByteStream> {
        let mut path = format!("/containers/{}/logs?stdout=true&stderr=true&follow={}", encode(id), options.follow);
        path.push_str(&format!("&timestamps={}", options.timestamps));
        if let Some(since) = options.since_s {
            path.push_str(&format!("&since={since}"));
        }
        if let Some(tail) = options.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        self.client.stream(Method::GET, &path).await
    }

    async fn create_exec(&self, id: &str, spec: &ExecSpec) -> Result<String> {
        let body = json!({
            "Cmd": spec.command,
            "AttachStdin": spec.stdin,
            "AttachStdout": spec.stdout,
            "AttachStderr": spec.stderr,
            "Tty": spec.tty,
        });
        let path = format!("/containers/{}/exec", encode(id));
        let created: Created = self.client.json(Method::POST, &path, Some(body.to_string().into_bytes())).await?;
        Ok(created.id)
    }

    async fn start_exec(&self, session: &str, tty: bool) -> Result<Connection> {
        let body = json!({ "Detach": false, "Tty": tty }).to_string().into_bytes();
        Ok(Box::new(self.client.hijack(&format!("/exec/{}/start", encode(session)), Some(body)).await?))
    }

    async fn inspect_exec(&self, session: &str) -> Result<ExecState> {
        let path = format!("/exec/{}/json", encode(session));
        let found: ExecInspection = self.client.json(Method::GET, &path, None).await?;
        Ok(ExecState { running: found.running, exit_code: found.exit_code, pid: found.pid })
    }

    async fn kill_exec(&self, session: &str, force: bool) -> Result<()> {
        // Podman has no call for it, but tells the process.
        let state = self.inspect_exec(session).await?;
        let pid = Pid::from_raw(state.pid).filter(|pid| state.running && !pid.is_init());
        let signal = if force { Signal::KILL } else { Signal::HUP };
        match pid.map_or(Ok(()), |pid| kill_process(pid, signal)) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => {
                Err(PodmanError::Failed { code: 0, message: format!("cannot signal process {}: {e}", state.pid) })
            }
        }
    }

    async fn attach(&self, id: &str, container: &Inspected) -> Result<Connection> {
        match Attached::open(&container.bundle, container.tty).await {
            Ok(attached) => Ok(Box::new(attached)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Err(PodmanError::NotFound { message: format!("container {id} has ended") })
            }
            Err(e) => Err(PodmanError::Failed { code: 0, message: format!("cannot attach to container {id}: {e}") }),
        }
    }

    async fn resize(&self, terminal: Terminal<'_>, columns: u16, rows: u16) -> Result<()> {
        let whose = match terminal {
            Terminal::Exec(session) => format!("/exec/{}", encode(session)),
            Terminal::Container(id) => format!("/containers/{}", encode(id)),
        };
        self.client.done(Method::POST, &format!("{whose}/resize?h={rows}&w={columns}")).await
    }

    async fn events(&self) -> Result<EventStream> {
        let node = Labels::node_filter(&self.node);
        let filters = filters(&[("type", &["container"]), ("event", &["died", "remove"]), ("label", &[&node])]);
        let chunks = self.client.stream(Method::GET, &format!("/events?stream=true&filters={filters}")).await?;
        let lines = stream::try_unfold((chunks, BytesMut::new()), |(mut chunks, mut buffer)| async move {
            loop {
                if let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                    let line = buffer.split_to(end + 1);
                    return Ok(Some((line, (chunks, buffer))));
                }
                match chunks.next().await {
                    Some(chunk) => buffer.extend_from_slice(&chunk?),
                    None => return Ok(None),
                }
                if buffer.len() > MAX_EVENT_LINE {
                    return Err(PodmanError::Failed { code: 0, message: "an event is too long".to_owned() });
                }
            }
        });
        // What cannot be read is no loss: the slow resync finds what it was about.
        Ok(lines.try_filter_map(|line| async move { Ok(pod_of_event(&line)) }).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unix_sockets_are_taken() {
        assert!(RealPodman::new("unix:///run/podman/podman.sock", "n").is_ok());
        assert!(RealPodman::new("tcp://1.2.3.4:80", "n").is_err());
        assert!(RealPodman::new("unix://relative", "n").is_err());
    }
}
