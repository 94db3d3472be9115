//! The agent's one UDP socket, and how it finds the hub: names are looked up at each attempt.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quinn::{ClientConfig, Connection, Endpoint};
use skiff_shared::tls::{HUB_NAME, close};

use super::{LinkError, SessionError};

/// Time for one address to answer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Opens connections to the hub. Bound to the wildcard address, so that it survives changes of the network.
#[derive(Debug)]
pub(super) struct Dialer {
    endpoint: Endpoint,
    hub: String,
}

impl Dialer {
    /// Opens the socket, for both IP versions where the machine has both.
    pub(super) fn open(hub: &str) -> Result<Self, LinkError> {
        let endpoint = Endpoint::client((Ipv6Addr::UNSPECIFIED, 0).into())
            .or_else(|_| Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into()))
            .map_err(LinkError::Socket)?;
        Ok(Self { endpoint, hub: hub.to_owned() })
    }

    /// Connects to the first of the hub's addresses that answers.
    pub(super) async fn connect(&self, config: &ClientConfig) -> Result<Connection, SessionError> {
        let lookup = |source| SessionError::Lookup { host: self.hub.clone(), source };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(&self.hub).await.map_err(lookup)?.collect();
        let mut last = SessionError::NoAddress(self.hub.clone());
        for address in addresses {
            match self.connect_to(address, config).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr, config: &ClientConfig) -> Result<Connection, SessionError> {
        // The hub's certificate is for a fixed name, whatever address leads to it.
        let connecting = self
            .endpoint
            .connect_with(config.clone(), address, HUB_NAME)
            .map_err(|source| SessionError::Start { address, source })?;
        match tokio::time::timeout(HANDSHAKE, connecting).await {
            Ok(connected) => connected.map_err(|source| SessionError::Connect { address, source }),
            Err(_) => Err(SessionError::Timeout("answer from the hub")),
        }
    }

    /// Closes everything and gives the hub a moment to hear of it.
    pub(super) async fn close(&self) {
        self.endpoint.close(close::DONE, b"the agent stops");
        // A hub that does not answer is not waited for.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }
}
