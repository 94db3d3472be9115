//! The controllers: pure functions from the state of the world to a plan, one file or folder each.

pub mod aggregation;
#[cfg(test)]
mod auth_tests;
pub mod claim;
pub mod cleaners;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod event_ttl;
pub mod garbage;
pub mod namespace;
pub mod node;
pub mod pod_gc;
pub mod protection;
pub mod quota;
pub mod replicaset;
pub mod serviceaccount;
pub mod signing;
pub mod stale_disruption;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod token_secret;

use std::sync::Arc;

use jiff::SignedDuration;

use crate::auth::jwt::Signer;
use crate::reconcile::{Controller, Liveness, Memo, memo};
use crate::registry::Registry;

/// What the controllers need to know beside the state of the world.
#[derive(Debug)]
pub struct Settings {
    /// The table of kinds.
    pub registry: Arc<Registry>,
    /// The sessions of nodes.
    pub liveness: Arc<Liveness>,
    /// How long a node may be silent before it counts as unknown. Kubernetes' default is 40 s.
    pub node_grace: SignedDuration,
    /// The cluster's CA certificate, PEM.
    pub ca_pem: String,
    /// What signs the tokens of service accounts.
    pub signer: Arc<Signer>,
    /// Signs client certificates.
    pub authority: Arc<dyn signing::ClientAuthority>,
    /// The pods' network, shared out among nodes.
    pub pod_network: node::Cidr,
    /// Most ended pods that are kept.
    pub max_ended_pods: usize,
}

/// Every controller, each to be run by [`crate::reconcile::run`] beside the scheduler.
pub fn all(settings: Settings) -> Vec<Arc<dyn Controller>> {
    let Settings { registry, liveness, node_grace, ca_pem, signer, authority, pod_network, max_ended_pods } = settings;
    // Pods are what there is most of, so their parsed form is shared.
    let pods = Arc::new(Memo::new(memo::PODS));
    let mut controllers: Vec<Arc<dyn Controller>> = vec![
        Arc::new(replicaset::ReplicaSets::new(Arc::clone(&pods))),
        Arc::new(deployment::Deployments::new(Arc::clone(&pods))),
        Arc::new(namespace::Namespaces::new(&registry)),
        Arc::new(serviceaccount::ServiceAccounts),
        Arc::new(token_secret::TokenSecrets::new(signer, &ca_pem)),
        Arc::new(aggregation::Aggregation),
        Arc::new(protection::Protection),
        Arc::new(cleaners::OldRequests),
        Arc::new(cleaners::ExpiredTokens),
        Arc::new(signing::Signing::new(authority)),
        Arc::new(quota::Quotas::new(&registry)),
        Arc::new(serviceaccount::RootCa::new(ca_pem)),
        Arc::new(node::TaintEviction::new(liveness.started(), Arc::clone(&pods))),
        Arc::new(node::NodeLifecycle::new(liveness, node_grace, Arc::clone(&pods))),
        Arc::new(node::NodeIpam::new(pod_network)),
        Arc::new(disruption::Disruption::new(Arc::clone(&pods), Arc::clone(&registry))),
        Arc::new(stale_disruption::StaleDisruption),
        Arc::new(pod_gc::PodGc::new(pods, max_ended_pods)),
        Arc::new(garbage::Garbage::new(registry)),
        Arc::new(event_ttl::EventTtl::default()),
    ];
    controllers.extend(endpoints::all());
    controllers
}
