//! The hub's configuration: flags, environment and a strict file become one checked [`Config`].
//!
//! Two stages: first texts by name, the first source that has one winning (flag, environment, file, default); then
//! values. Every error of both stages is reported, not only the first, and names its source and its text.

mod layers;
mod values;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tracing::Level;

use crate::api::{AuditLevel, AuditRotation};
use crate::objects::PodSecurity;
use crate::objects::pod_security::{parse_defaults, parse_exemptions};
use layers::{Layer, Layers, Origin};
pub use values::{Ipv4Net, parse_duration};

/// One setting: `--name` as a flag, `name` in the file, `SKIFF_HUB_NAME` in the environment.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What holds when no source has it.
    pub default: Option<&'static str>,
}

/// Every setting of `skiff-hub serve`.
pub const SETTINGS: [Setting; 19] = [
    Setting { name: "data-dir", default: None },
    Setting { name: "listen", default: Some("0.0.0.0:6443") },
    Setting { name: "advertise-address", default: None },
    Setting { name: "pod-cidr", default: Some("10.42.0.0/16") },
    Setting { name: "service-cidr", default: Some("10.43.0.0/16") },
    Setting { name: "cluster-dns", default: Some("10.43.0.10") },
    Setting { name: "cluster-domain", default: Some("cluster.local") },
    Setting { name: "node-grace", default: Some("40s") },
    Setting { name: "compaction-interval", default: Some("5m") },
    Setting { name: "log-level", default: Some("info") },
    Setting { name: "audit-log", default: None },
    Setting { name: "audit-level", default: Some("Metadata") },
    Setting { name: "max-requests-inflight", default: Some("400") },
    Setting { name: "max-mutating-requests-inflight", default: Some("200") },
    Setting { name: "audit-log-maxsize", default: Some("100") },
    Setting { name: "audit-log-maxbackup", default: Some("10") },
    Setting { name: "pod-security", default: Some("") },
    Setting { name: "pod-security-exempt", default: Some("") },
    Setting { name: "config", default: None },
];

/// The flags of `skiff-hub serve`, as given. Each is also a key of the file and a variable `SKIFF_HUB_…`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Directory of the database, keys and join tokens; made if it is missing
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// TOML file with these settings as keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// TCP address of the API, and UDP address of the agents' endpoint [default: 0.0.0.0:6443]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Address under which clients and agents reach the hub [default: that of the default route]
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<String>,
    /// Network of pods; each node gets a /24 [default: 10.42.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<String>,
    /// Network of services [default: 10.43.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Option<String>,
    /// Service address of the cluster's DNS [default: 10.43.0.10]
    #[arg(long, value_name = "IP")]
    pub cluster_dns: Option<String>,
    /// DNS domain of the cluster [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// Silence after which a node is no longer ready [default: 40s]
    #[arg(long, value_name = "DURATION")]
    pub node_grace: Option<String>,
    /// Age of changes, twice it at most, after which watches cannot go on from them [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub compaction_interval: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// File to which every request to the API is logged, as JSON lines [default: none]
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<String>,
    /// Metadata, Request or RequestResponse: what the audit log has of each request [default: Metadata]
    #[arg(long, value_name = "LEVEL")]
    pub audit_level: Option<String>,
    /// Most requests that read and are answered at one time; one user has half of them [default: 400]
    #[arg(long, value_name = "NUMBER")]
    pub max_requests_inflight: Option<String>,
    /// Most requests that write and are answered at one time; one user has half of them [default: 200]
    #[arg(long, value_name = "NUMBER")]
    pub max_mutating_requests_inflight: Option<String>,
    /// Megabytes from which on the audit log is put aside and begun anew [default: 100]
    #[arg(long, value_name = "MB")]
    pub audit_log_maxsize: Option<String>,
    /// Audit logs put aside that are kept [default: 10]
    #[arg(long, value_name = "COUNT")]
    pub audit_log_maxbackup: Option<String>,
    /// Pod Security where namespaces have no labels, e.g. enforce=baseline,warn=restricted:v1.30 [default: privileged]
    #[arg(long, value_name = "MODE=LEVEL,…")]
    pub pod_security: Option<String>,
    /// Whom Pod Security leaves alone, e.g. namespace=kube-system,username=robot,runtimeClass=kata [default: nobody]
    #[arg(long, value_name = "KIND=NAME,…")]
    pub pod_security_exempt: Option<String>,
}

impl Flags {
    fn layer(&self) -> Layer {
        let given = [
            ("data-dir", &self.data_dir),
            ("config", &self.config),
            ("listen", &self.listen),
            ("advertise-address", &self.advertise_address),
            ("pod-cidr", &self.pod_cidr),
            ("service-cidr", &self.service_cidr),
            ("cluster-dns", &self.cluster_dns),
            ("cluster-domain", &self.cluster_domain),
            ("node-grace", &self.node_grace),
            ("compaction-interval", &self.compaction_interval),
            ("log-level", &self.log_level),
            ("audit-log", &self.audit_log),
            ("audit-level", &self.audit_level),
            ("max-requests-inflight", &self.max_requests_inflight),
            ("max-mutating-requests-inflight", &self.max_mutating_requests_inflight),
            ("audit-log-maxsize", &self.audit_log_maxsize),
            ("audit-log-maxbackup", &self.audit_log_maxbackup),
            ("pod-security", &self.pod_security),
            ("pod-security-exempt", &self.pod_security_exempt),
        ];
        let values = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        Layer { origin: Origin::Flag, values }
    }
}

/// The checked configuration of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// TCP address of the API, UDP address of the agents' endpoint.
    pub listen: SocketAddr,
    /// Where clients reach the hub; `None`: to be found out.
    pub advertise_address: Option<IpAddr>,
    /// Network of pods, at least a /24.
    pub pod_cidr: Ipv4Net,
    /// Network of services, apart from that of pods.
    pub service_cidr: Ipv4Net,
    /// The cluster's DNS, within `service_cidr`.
    pub cluster_dns: Ipv4Addr,
    /// E.g. `cluster.local`.
    pub cluster_domain: String,
    /// Silence after which a node is no longer ready.
    pub node_grace: Duration,
    /// How long watches can go on from a change, at least; at most twice as long.
    pub compaction_interval: Duration,
    /// What is logged.
    pub log_level: Level,
    /// Where requests are logged; `None`: nowhere.
    pub audit_log: Option<PathBuf>,
    /// What is logged of each request.
    pub audit_level: AuditLevel,
    /// Most requests that read and are answered at one time.
    pub max_requests_inflight: usize,
    /// Most requests that write and are answered at one time.
    pub max_mutating_requests_inflight: usize,
    /// How much of the audit log's past is kept.
    pub audit_rotation: AuditRotation,
    /// What Pod Security holds to where namespaces do not say, and whom it leaves alone.
    pub pod_security: PodSecurity,
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl Config {
    /// Puts the sources together, reading the file that they name, and checks the result.
    ///
    /// # Errors
    /// [`ConfigErrors`]: all of them.
    pub fn load(flags: &Flags, env: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut layers = Layers(vec![flags.layer(), Layer::environment(env)]);
        if let Some((_, path)) = layers.get("config") {
            let path = PathBuf::from(path);
            match std::fs::read_to_string(&path) {
                Ok(text) => layers.0.push(Layer::file(path, &text, &mut errors)),
                Err(error) => errors.push(format!("cannot read the configuration file {}: {error}", path.display())),
            }
        }
        layers.0.push(Layer::defaults());
        let config = check(&layers, &mut errors);
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            Some(_) | None => Err(ConfigErrors(errors)),
        }
    }
}

/// The second stage. `None` only if an error was added.
fn check(layers: &Layers, errors: &mut Vec<String>) -> Option<Config> {
    let data_dir = layers.required("data-dir", errors, values::path);
    let listen = layers.required("listen", errors, values::socket_address);
    let advertise_address = layers.optional("advertise-address", errors, values::reachable_address);
    let pod_cidr = layers.required("pod-cidr", errors, values::pod_network);
    let service_cidr = layers.required("service-cidr", errors, values::service_network);
    let cluster_dns = layers.required("cluster-dns", errors, values::ipv4_address);
    let cluster_domain = layers.required("cluster-domain", errors, values::domain);
    let node_grace = layers.required("node-grace", errors, values::positive_duration);
    let compaction_interval = layers.required("compaction-interval", errors, values::positive_duration);
    let log_level = layers.required("log-level", errors, values::level);
    let audit_log = layers.optional("audit-log", errors, values::path);
    let audit_level = layers.required("audit-level", errors, values::audit_level);
    let reading = layers.required("max-requests-inflight", errors, values::positive_number);
    let mutating = layers.required("max-mutating-requests-inflight", errors, values::positive_number);
    let megabytes = layers.required("audit-log-maxsize", errors, values::positive_count);
    let backups = layers.required("audit-log-maxbackup", errors, values::positive_count);
    let defaults = layers.required("pod-security", errors, parse_defaults);
    let exemptions = layers.required("pod-security-exempt", errors, parse_exemptions);
    check_networks(layers, pod_cidr, service_cidr, cluster_dns, errors);
    Some(Config {
        data_dir: data_dir?,
        listen: listen?,
        advertise_address,
        pod_cidr: pod_cidr?,
        service_cidr: service_cidr?,
        cluster_dns: cluster_dns?,
        cluster_domain: cluster_domain?,
        node_grace: node_grace?,
        compaction_interval: compaction_interval?,
        log_level: log_level?,
        audit_log,
        audit_level: audit_level?,
        max_requests_inflight: reading?,
        max_mutating_requests_inflight: mutating?,
        audit_rotation: AuditRotation { max_bytes: u64::from(megabytes?) << 20, max_backups: backups? },
        pod_security: PodSecurity { defaults: defaults?, exemptions: exemptions? },
    })
}

/// What holds between settings.
fn check_networks(
    layers: &Layers,
    pods: Option<Ipv4Net>,
    services: Option<Ipv4Net>,
    dns: Option<Ipv4Addr>,
    errors: &mut Vec<String>,
) {
    let Some(services) = services else { return };
    if pods.is_some_and(|pods| pods.overlaps(services)) {
        errors.push(layers.complaint("service-cidr", "overlaps the network of pods"));
    }
    let Some(dns) = dns else { return };
    if !services.contains(dns) {
        errors.push(layers.complaint("cluster-dns", &format!("is not in the network of services {services}")));
    } else if dns == services.nth(0) || dns == services.nth(1) {
        errors.push(layers.complaint("cluster-dns", "is taken by the Service kubernetes or the network itself"));
    }
}

#[cfg(test)]
mod tests;
