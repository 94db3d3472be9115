//! Wires every module together: the only one that knows all of them.

mod bootstrap;
mod documents;
mod identities;
mod nodes;
mod parts;
mod streams;
pub mod tokens;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sd_notify::NotifyState;
use tokio::net::TcpListener;

use crate::api::{self, ApiState, AuditLog, Check, InFlight};
use crate::auth::jwt::{KeyError, Signer};
use crate::config::Config;
use crate::controllers;
use crate::link::{ClusterInfo, Link, LinkParts};
use crate::objects::{self, Networks, Objects};
use crate::pki::{self, Pki, PkiError, PkiOptions};
use crate::reconcile::{self, Controller, Liveness, Pulse, Recorder};
use crate::registry::Registry;
use crate::scheduler::Scheduler;
use crate::store::lock::{DirLock, LockError};
use crate::store::{LogLimits, OpenError, SqliteStore, Store as _, compact_regularly};
use documents::RegistryDocuments;
use identities::Identities;
use parts::Parts;
use streams::LinkStreams;

/// The controller that is shown as Kubernetes' scheduler; all others are its controller-manager.
const SCHEDULER: &str = "default-scheduler";

/// The database in the data directory.
const DATABASE: &str = "state.db";

/// Why a hub cannot run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The data directory cannot be made.
    #[error("cannot make the data directory {}", dir.display())]
    DataDir {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The data directory cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// An object that every cluster has cannot be made.
    #[error("cannot create the {kind} {name}")]
    Bootstrap {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: objects::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({protocol})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// `TCP` or `UDP`.
        protocol: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The audit log cannot be opened.
    #[error("cannot open the audit log {}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificates cannot be made or read.
    #[error("cannot set up the certificates")]
    Pki(#[from] PkiError),
    /// The key for the tokens of service accounts is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A part of the hub failed.
    #[error("the {part} failed")]
    Part {
        /// E.g. `API server`.
        part: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A part of the hub ended although nobody asked it to.
    #[error("the {part} ended unexpectedly")]
    Ended {
        /// E.g. `API server`.
        part: &'static str,
    },
}

/// Runs a hub until `shutdown` completes or a part fails, then stops it in order: parts first, the store last.
///
/// # Errors
/// [`RunError`] when the hub cannot start, or when a part of it ends before it is asked to.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let hub = Hub::open(&config).await?;
    let outcome = hub.serve(&config, shutdown).await;
    hub.store.close().await;
    outcome
}

/// What the parts stand on.
#[derive(Debug)]
struct Hub {
    store: Arc<SqliteStore>,
    objects: Objects,
    /// Released last.
    _lock: DirLock,
}

impl Hub {
    async fn open(config: &Config) -> Result<Self, RunError> {
        let dir = &config.data_dir;
        make_private_dir(dir).map_err(|source| RunError::DataDir { dir: dir.clone(), source })?;
        let lock = DirLock::acquire(dir)?;
        let store = SqliteStore::open(&dir.join(DATABASE), LogLimits::default()).await?;
        let networks = Networks::new(config.service_cidr.address(), config.service_cidr.prefix());
        let objects = Objects::new(store.clone(), Arc::new(Registry::builtin()), networks);
        let objects = objects.with_pod_security(config.pod_security.clone());
        tracing::info!(dir = %dir.display(), revision = objects.snapshot().revision(), "the store is open");
        Ok(Self { store, objects, _lock: lock })
    }

    async fn serve(&self, config: &Config, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let mut parts = Parts::default();
        let outcome = match self.start(config, &mut parts).await {
            Ok(()) => {
                notify(NotifyState::Ready);
                tokio::select! {
                    biased;
                    () = shutdown => Ok(()),
                    failure = parts.failure() => Err(failure),
                }
            }
            Err(error) => Err(error),
        };
        notify(NotifyState::Stopping);
        parts.stop().await;
        outcome
    }

    /// Starts the parts. The API comes last: whoever reaches it finds the rest at work.
    async fn start(&self, config: &Config, parts: &mut Parts) -> Result<(), RunError> {
        let (tcp, udp) = listen(config.listen).await?;
        let service = config.service_cidr.nth(1);
        let pki =
            Arc::new(Pki::open_or_create(&config.data_dir, &pki_options(config, service.into()), Timestamp::now())?);
        let signer = Arc::new(Signer::new(pki.account_key())?);
        let own = config.advertise_address.into_iter().chain(pki::local_addresses()).find(|a| !a.is_loopback());
        bootstrap::bootstrap(&self.objects, service, own, config.listen.port()).await?;
        let liveness = Arc::new(Liveness::new(Timestamp::now()));
        let (recorder, pulses) = self.start_controllers(config, parts, &pki, &signer, &liveness);
        let link = Link::new(LinkParts {
            pki: Arc::clone(&pki),
            cluster: Arc::new(self.objects.clone()),
            events: Arc::new(recorder),
            life: liveness,
            signer: Arc::clone(&signer),
            info: ClusterInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                cluster_dns: config.cluster_dns.to_string(),
                cluster_domain: config.cluster_domain.clone(),
            },
        });
        let (store, interval, stopped) = (Arc::clone(&self.store), config.compaction_interval, parts.stopped());
        parts.spawn_sure("compaction", async move { compact_regularly(&*store, interval, stopped).await });
        let (server, stopped) = (link.clone(), parts.stopped());
        parts.spawn("agents' endpoint", async move { server.serve(udp, stopped).await });
        let audit = audit_log(config, parts).await?;
        let state =
            Arc::new(self.api(config, &pki, &signer, link).with_components(self.components(pulses)).with_audit(audit));
        parts.spawn_sure("API server", api::serve(tcp, Arc::new(pki.https_config()?), state, parts.stopped()));
        Ok(())
    }

    fn start_controllers(
        &self,
        config: &Config,
        parts: &mut Parts,
        pki: &Arc<Pki>,
        signer: &Arc<Signer>,
        liveness: &Arc<Liveness>,
    ) -> (Recorder, Vec<Arc<Pulse>>) {
        let (recorder, task) = Recorder::new(self.objects.clone());
        parts.spawn_sure("event recorder", task.run(parts.stopped()));
        let settings = controllers::Settings {
            registry: Arc::clone(self.objects.registry()),
            liveness: Arc::clone(liveness),
            node_grace: config.node_grace.try_into().unwrap_or(SignedDuration::MAX),
            ca_pem: pki.ca_pem(),
            signer: Arc::clone(signer),
            authority: Arc::clone(pki) as _,
            pod_network: controllers::node::Cidr::new(config.pod_cidr.address(), config.pod_cidr.prefix()),
            max_ended_pods: controllers::pod_gc::DEFAULT_ENDED,
        };
        let scheduler: Arc<dyn Controller> = Arc::new(Scheduler::default());
        let mut pulses = Vec::new();
        for controller in controllers::all(settings).into_iter().chain([scheduler]) {
            let pulse = Arc::new(Pulse::new(controller.name()));
            let (objects, recorder, stopped) = (self.objects.clone(), recorder.clone(), parts.stopped());
            parts.spawn_sure(pulse.name(), reconcile::run(controller, objects, recorder, Arc::clone(&pulse), stopped));
            pulses.push(pulse);
        }
        (recorder, pulses)
    }

    /// What stands behind the names of Kubernetes' parts.
    fn components(&self, pulses: Vec<Arc<Pulse>>) -> Vec<Check> {
        let (schedulers, controllers): (Vec<_>, Vec<_>) = pulses.into_iter().partition(|p| p.name() == SCHEDULER);
        let all = |pulses: Vec<Arc<Pulse>>| move || pulses.iter().try_for_each(|pulse| pulse.check());
        let check = |name, run| Check { name, ready_only: false, run };
        vec![
            check("scheduler", Box::new(all(schedulers))),
            check("controller-manager", Box::new(all(controllers))),
            Check { name: "etcd-0", ..self.store_check() },
        ]
    }

    /// Whether the store, which stands for Kubernetes' etcd, still takes writes.
    fn store_check(&self) -> Check {
        let revisions = self.store.revisions();
        let store = move || revisions.has_changed().map(drop).map_err(|_| "the store is closed".to_owned());
        Check { name: "etcd", ready_only: false, run: Box::new(store) }
    }

    fn api(&self, config: &Config, pki: &Arc<Pki>, signer: &Arc<Signer>, link: Link) -> ApiState {
        let registry = Arc::clone(self.objects.registry());
        let host = config.advertise_address.map_or_else(|| "127.0.0.1".to_owned(), |a| a.to_string());
        let documents = RegistryDocuments::new(registry, format!("{host}:{}", config.listen.port()));
        let identities = Identities { pki: Arc::clone(pki), signer: Arc::clone(signer), objects: self.objects.clone() };
        ApiState::new(
            self.objects.clone(),
            Arc::new(identities),
            Arc::new(LinkStreams(link)),
            Arc::new(documents),
            vec![self.store_check()],
        )
        .with_in_flight(InFlight {
            reading: config.max_requests_inflight,
            mutating: config.max_mutating_requests_inflight,
            ..InFlight::default()
        })
    }
}

/// The log of requests, where one is wanted, and its writer as a part of the hub.
async fn audit_log(config: &Config, parts: &mut Parts) -> Result<Option<AuditLog>, RunError> {
    let Some(path) = &config.audit_log else { return Ok(None) };
    let opened = AuditLog::open(path.clone(), config.audit_level, config.audit_rotation).await;
    let (log, writer) = opened.map_err(|source| RunError::Audit { path: path.clone(), source })?;
    parts.spawn_sure("audit log", writer.run(parts.stopped()));
    Ok(Some(log))
}

/// Both sockets of the one port.
async fn listen(address: SocketAddr) -> Result<(TcpListener, UdpSocket), RunError> {
    let failed = |protocol| move |source| RunError::Listen { address, protocol, source };
    let tcp = TcpListener::bind(address).await.map_err(failed("TCP"))?;
    let udp = UdpSocket::bind(address).map_err(failed("UDP"))?;
    Ok((tcp, udp))
}

fn pki_options(config: &Config, service_ip: IpAddr) -> PkiOptions {
    PkiOptions {
        advertise: config.advertise_address,
        port: config.listen.port(),
        addresses: pki::local_addresses(),
        hostname: pki::local_hostname(),
        service_ip,
        cluster_domain: config.cluster_domain.clone(),
    }
}

/// The keys and join tokens in it are for its owner only.
fn make_private_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Tells systemd, where it started us; elsewhere this does nothing.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}

#[cfg(test)]
mod tests;
