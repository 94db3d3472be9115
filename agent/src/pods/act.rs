//! Carrying out one action: a call or two to Podman, and what came of it. The worker applies the outcomes.

use std::path::Path;
use std::sync::Arc;

use skiff_shared::pod::Pod;

use super::build::{self, ConfigError};
use super::context::Context;
use super::decide::Action;
use super::env::Sources;
use super::hosts;
use super::mounting::{self, Mounted};
use super::probes::Why;
use super::resolv;
use super::view::Seen;
use crate::ledger::facts::Failure;
use crate::podman::{ContainerSpec, Image, Join, Limits, PodmanError, RunState};

/// What came of an action.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The volumes were set up, or could not be.
    Mounted(Mounted),
    /// The volumes were measured: why the pod is to be given up, if it is.
    Measured(Option<Failure>),
    /// The sandbox was made.
    SandboxCreated { pod_id: String, infra: String },
    /// The sandbox runs.
    SandboxStarted,
    /// The sandbox's address.
    AddressFound { ip: String },
    /// The sandbox stopped, or was removed: look again.
    SandboxChanged,
    /// The sandbox could not be made or started.
    SandboxFailed(PodmanError),
    /// An attempt of a container was made.
    Created { sandbox: u32, image: Image, seen: Box<Seen> },
    /// A container cannot be described.
    Misconfigured { container: String, error: ConfigError },
    /// A container could not be made.
    NotCreated { container: String, error: PodmanError },
    /// A container runs.
    Started { container: String, id: String },
    /// A container could not be started.
    NotStarted { container: String, id: String, error: PodmanError },
    /// A container has other limits.
    Resized { container: String, id: String, limits: Limits },
    /// A container could not be given other limits.
    NotResized { container: String, error: PodmanError },
    /// A container was told to stop.
    Signalled { container: String, id: String, why: Why },
    /// A container was killed.
    Killed { id: String },
    /// A dead container was removed.
    Removed { id: String },
    /// Podman failed: look again after a while.
    Failed(PodmanError),
}

/// What actions need beside the context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) ctx: &'a Context,
    pub(super) pod: &'a Arc<Pod>,
    pub(super) pod_ip: &'a str,
    pub(super) sandbox_id: Option<&'a str>,
}

/// Carries out an action. `image` is that of the container to make.
pub(super) async fn act(scene: Scene<'_>, action: Action, image: Option<Image>) -> Outcome {
    let podman = &scene.ctx.podman;
    match action {
        Action::MountVolumes => Outcome::Mounted(mounting::set_up(scene.ctx, scene.pod).await),
        Action::MeasureVolumes => Outcome::Measured(mounting::measure(scene.ctx, scene.pod).await),
        Action::CreateSandbox => create_sandbox(scene).await,
        Action::StartSandbox { infra } => start_sandbox(scene, &infra).await,
        Action::FindAddress { infra } => find_address(scene, &infra).await,
        Action::StopSandbox { infra } => match podman.signal(&infra, "SIGKILL").await {
            Ok(()) => Outcome::SandboxChanged,
            Err(error) => Outcome::Failed(error),
        },
        Action::RemoveSandbox { pod_id } => {
            scene.ctx.followers.gone(&scene.pod.uid).await;
            match podman.remove_pod(&pod_id).await {
                Ok(()) => Outcome::SandboxChanged,
                Err(error) => Outcome::Failed(error),
            }
        }
        Action::Create { container, attempt, sandbox, joins } => {
            let new = New { container, attempt, sandbox, joins: joins.unwrap_or_default() };
            create(scene, new, image).await
        }
        Action::Start { container, id } => start(scene, container, id).await,
        Action::Resize { container, id, limits } => match podman.update(&id, &limits).await {
            Ok(()) => Outcome::Resized { container, id, limits },
            Err(error) if error.is_unreachable() => Outcome::Failed(error),
            Err(error) => Outcome::NotResized { container, error },
        },
        Action::Signal { container, id, signal, why } => match podman.signal(&id, &signal).await {
            Ok(()) => Outcome::Signalled { container, id, why },
            Err(error) => Outcome::Failed(error),
        },
        Action::Kill { id, .. } => match podman.signal(&id, "SIGKILL").await {
            Ok(()) => Outcome::Killed { id },
            Err(error) => Outcome::Failed(error),
        },
        Action::Remove { id } => match podman.remove(&id).await {
            Ok(()) => Outcome::Removed { id },
            Err(error) => Outcome::Failed(error),
        },
        // The worker starts these in the background itself.
        Action::EnsureImage { .. } | Action::Probe { .. } | Action::PreStop { .. } => Outcome::SandboxChanged,
    }
}

async fn start(scene: Scene<'_>, container: String, id: String) -> Outcome {
    if hosts::wanted(scene.pod, &container)
        && let Err(source) = write_hosts(scene)
    {
        let message = format!("cannot write the hosts file: {source}");
        return Outcome::NotStarted { container, id, error: PodmanError::Failed { code: 0, message } };
    }
    match scene.ctx.podman.start(&id).await {
        Ok(()) => Outcome::Started { container, id },
        Err(error) if error.is_unreachable() => Outcome::Failed(error),
        Err(error) => Outcome::NotStarted { container, id, error },
    }
}

/// Writes the hosts file of the pod's containers, in its place: those that run see it too.
fn write_hosts(scene: Scene<'_>) -> std::io::Result<()> {
    let machine = if scene.pod.host_network { std::fs::read_to_string(hosts::PATH)? } else { String::new() };
    let content = hosts::content(scene.pod, scene.pod_ip, &scene.ctx.network.domain(), &machine);
    std::fs::write(build::hosts_file(&scene.ctx.data_dir, scene.pod), content)
}

async fn create_sandbox(scene: Scene<'_>) -> Outcome {
    let spec = build::sandbox(&scene.ctx.node, scene.pod, &scene.ctx.network.domain());
    if !spec.host_network
        && let Err(error) = scene.ctx.network.ensure(&*scene.ctx.podman).await
    {
        return Outcome::SandboxFailed(error);
    }
    match scene.ctx.podman.create_pod(&spec).await {
        Ok(pod_id) => Outcome::SandboxCreated { pod_id, infra: spec.infra_name },
        // Left over from a create whose answer was lost, or half made: start over.
        Err(PodmanError::Conflict { .. }) => match scene.ctx.podman.remove_pod(&spec.name).await {
            Ok(()) => Outcome::SandboxChanged,
            Err(error) => Outcome::SandboxFailed(error),
        },
        Err(error) => Outcome::SandboxFailed(error),
    }
}

async fn start_sandbox(scene: Scene<'_>, infra: &str) -> Outcome {
    match scene.ctx.podman.start(infra).await {
        Ok(()) => Outcome::SandboxStarted,
        Err(error) => Outcome::SandboxFailed(error),
    }
}

async fn find_address(scene: Scene<'_>, infra: &str) -> Outcome {
    match scene.ctx.podman.inspect(infra).await {
        Ok(inspected) if inspected.ip.is_empty() => {
            let message = format!("the infra container {infra} has no address");
            Outcome::Failed(PodmanError::Failed { code: 0, message })
        }
        Ok(inspected) => Outcome::AddressFound { ip: inspected.ip },
        Err(error) => Outcome::Failed(error),
    }
}

/// A container to make: the fields of [`Action::Create`].
struct New {
    container: String,
    attempt: u32,
    sandbox: u32,
    joins: String,
}

async fn create(scene: Scene<'_>, new: New, image: Option<Image>) -> Outcome {
    let New { container, attempt, sandbox, joins } = new;
    let ctx = scene.ctx;
    let Some((spec, image)) = scene.pod.every_container().find(|c| c.name == container).zip(image) else {
        return Outcome::SandboxChanged;
    };
    let desired = ctx.desired.borrow().clone();
    let sources = Sources {
        desired: &desired,
        node: &ctx.node,
        host_ip: &ctx.host_ip,
        pod_ip: scene.pod_ip,
        node_cpu_milli: ctx.cpu_milli,
        node_memory_bytes: ctx.memory_bytes,
        node_storage_bytes: ctx.storage_bytes(),
    };
    let mut wanted = match build::container(scene.pod, spec, attempt, &image, &sources, &ctx.data_dir) {
        Ok(wanted) => wanted,
        Err(error) => return Outcome::Misconfigured { container, error },
    };
    if !joins.is_empty() {
        wanted.labels.joins.clone_from(&joins);
        wanted.pid_ns = Some(Join::Container(joins.clone()));
    }
    if let Some(id) = scene.sandbox_id {
        id.clone_into(&mut wanted.pod);
    }
    match mounting::binds(ctx, scene.pod, &container, &wanted.env).await {
        Ok(binds) => wanted.binds.extend(binds),
        Err(error) => return Outcome::Misconfigured { container, error },
    }
    if let Err(source) = make_own_files(scene, &mut wanted, &container) {
        let message = format!("cannot make the files of the container: {source}");
        return Outcome::NotCreated { container, error: PodmanError::Failed { code: 0, message } };
    }
    match ctx.podman.create_container(&wanted).await {
        Ok(id) => {
            let seen = Seen {
                id,
                name: container,
                attempt,
                image: spec.image.clone(),
                stop_signal: image.stop_signal.clone(),
                joins,
                limits: Some(wanted.limits),
                state: RunState::Created,
                started_ms: 0,
                ended: None,
            };
            Outcome::Created { sandbox, image, seen: Box::new(seen) }
        }
        Err(error) if error.is_unreachable() => Outcome::Failed(error),
        // An answer was lost: the container is there already, or a stranger has its name.
        Err(PodmanError::Conflict { .. }) => match ctx.podman.remove(&wanted.name).await {
            Ok(()) => Outcome::SandboxChanged,
            Err(error) => Outcome::NotCreated { container, error },
        },
        Err(error) => Outcome::NotCreated { container, error },
    }
}

/// The files that every container has: for its termination message, which any user in it may write, for hosts, and for
/// the resolver where the pod has wishes.
fn make_own_files(scene: Scene<'_>, wanted: &mut ContainerSpec, container: &str) -> std::io::Result<()> {
    make_file(Path::new(&wanted.binds[0].source), true, 0o666)?;
    if hosts::wanted(scene.pod, container) {
        let hosts = build::hosts_file(&scene.ctx.data_dir, scene.pod);
        // Other containers may be reading it: it is written when this one starts.
        make_file(&hosts, false, 0o644)?;
        wanted.binds.push(build::own_file(&hosts, hosts::PATH));
    }
    if let Some(dns) = resolv::wanted(scene.pod, container) {
        let machine = if dns.alone { String::new() } else { std::fs::read_to_string(resolv::PATH)? };
        let path = build::resolver_file(&scene.ctx.data_dir, scene.pod);
        make_file(&path, false, 0o644)?;
        std::fs::write(&path, resolv::content(dns, &machine))?;
        wanted.binds.push(build::own_file(&path, resolv::PATH));
    }
    Ok(())
}

fn make_file(path: &Path, truncate: bool, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = std::fs::File::options().write(true).create(true).truncate(truncate).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}
