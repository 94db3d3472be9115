//! The node's pod network: one bridge network of Podman's, with the subnet that the hub gave this node.
//!
//! The subnet is in the ledger, and Podman keeps the network on disk, so both are there after a reboot without the hub.

use std::fmt;
use std::net::Ipv4Addr;

use tokio::sync::{Mutex, watch};

use crate::podman::{NetworkSpec, Podman, PodmanError, Result};

/// Podman's name of the network.
pub const NAME: &str = "skiff";
/// Name of its bridge on the host.
const BRIDGE: &str = "skiff0";
/// A longer prefix leaves no room for a gateway and a pod.
const LONGEST_PREFIX: u8 = 30;

/// A subnet for pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// Reads `10.42.3.0/24`. `None` where it is no IPv4 subnet with room for pods, or has host bits set.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let base = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let prefix: u8 = prefix.parse().ok().filter(|p| (1..=LONGEST_PREFIX).contains(p))?;
        (base & (u32::MAX >> prefix) == 0).then_some(Self { base, prefix })
    }

    /// The first address, which is the bridge's.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

/// The pod network, shared by all workers.
#[derive(Debug)]
pub struct PodNetwork {
    node: String,
    subnet: watch::Sender<Option<Subnet>>,
    /// The cluster's domain.
    domain: watch::Sender<String>,
    /// The subnet that Podman's network was last seen to have.
    seen: Mutex<Option<Subnet>>,
}

impl PodNetwork {
    /// The network of `node` in a cluster of this domain; its subnet is not known before the hub told it once.
    pub fn new(node: &str, subnet: Option<Subnet>, domain: &str) -> Self {
        let (subnet, domain) = (watch::Sender::new(subnet), watch::Sender::new(domain.to_owned()));
        Self { node: node.to_owned(), subnet, domain, seen: Mutex::default() }
    }

    /// The cluster's domain.
    pub fn domain(&self) -> String {
        self.domain.borrow().clone()
    }

    /// Takes the cluster's domain that the hub tells. New pods have it from now on.
    pub fn learn_domain(&self, domain: &str) {
        self.domain.send_replace(domain.to_owned());
    }

    /// Whether pods that need the network have to wait for its subnet.
    pub fn is_unknown(&self) -> bool {
        self.subnet.borrow().is_none()
    }

    /// Takes the subnet that the hub tells; gives whether it is news. New pods use it from now on.
    pub fn learn(&self, subnet: Subnet) -> bool {
        self.subnet.send_if_modified(|known| known.replace(subnet) != Some(subnet))
    }

    /// Makes sure that Podman has the network with the known subnet. Asks Podman only where that is in doubt.
    ///
    /// # Errors
    /// When Podman fails, when pods still use a network of another subnet, or when a stranger has the name.
    pub async fn ensure(&self, podman: &dyn Podman) -> Result<()> {
        let Some(subnet) = *self.subnet.borrow() else {
            return Err(failed("the hub has not told this node its pod subnet yet".to_owned()));
        };
        // One at a time: two workers must not both create it.
        let mut seen = self.seen.lock().await;
        if *seen == Some(subnet) {
            return Ok(());
        }
        match podman.network(NAME).await? {
            Some(found) if found.subnets == [subnet.to_string()] => {}
            Some(found) if found.node.is_none() => {
                return Err(failed(format!("the Podman network {NAME:?} exists and is not this agent's")));
            }
            Some(_) => {
                podman.remove_network(NAME).await?;
                self.create(podman, subnet).await?;
            }
            None => self.create(podman, subnet).await?,
        }
        *seen = Some(subnet);
        Ok(())
    }

    /// Forgets what was seen: something that needs the network failed.
    pub async fn doubt(&self) {
        *self.seen.lock().await = None;
    }

    async fn create(&self, podman: &dyn Podman, subnet: Subnet) -> Result<()> {
        let gateway = subnet.gateway().to_string();
        let (name, interface, node) = (NAME.to_owned(), BRIDGE.to_owned(), self.node.clone());
        podman.create_network(&NetworkSpec { name, interface, subnet: subnet.to_string(), gateway, node }).await
    }
}

fn failed(message: String) -> PodmanError {
    PodmanError::Failed { code: 0, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::podman::fake::FakePodman;

    #[test]
    fn subnets_are_read_strictly() {
        for (text, gateway) in [("10.42.3.0/24", "10.42.3.1"), ("10.0.0.0/8", "10.0.0.1"), ("10.1.1.4/30", "10.1.1.5")]
        {
            let subnet = Subnet::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((subnet.to_string(), subnet.gateway().to_string()), (text.to_owned(), gateway.to_owned()));
        }
        for text in ["", "10.42.3.0", "10.42.3.1/24", "10.42.3.0/33", "10.42.3.0/31", "0.0.0.0/0", "fd00::/64", "x/24"]
        {
            assert_eq!(Subnet::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn the_network_is_made_once_and_made_anew_for_another_subnet() {
        let podman = FakePodman::default();
        let network = PodNetwork::new("n1", None, "cluster.local");
        assert!(network.is_unknown() && network.ensure(&podman).await.is_err());
        let [first, second] = ["10.42.3.0/24", "10.42.4.0/24"].map(|s| Subnet::parse(s).unwrap());
        for (subnet, news) in [(first, true), (first, false), (second, true)] {
            assert_eq!(network.learn(subnet), news);
            network.ensure(&podman).await.unwrap();
            network.ensure(&podman).await.unwrap();
        }
        assert_eq!(
            podman.calls(),
            ["create network skiff 10.42.3.0/24", "remove network skiff", "create network skiff 10.42.4.0/24"]
        );
        // Another agent's start finds it as it is.
        PodNetwork::new("n1", Some(second), "cluster.local").ensure(&podman).await.unwrap();
        assert_eq!(podman.calls().len(), 3);
    }
}
