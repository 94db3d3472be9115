//! TLS and QUIC settings of the link, the same on both sides: TLS 1.3 by ring, ALPN `skiff/1`, small windows.

pub mod io;
mod pin;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;

pub use pin::PinnedCa;

use crate::wire::ALPN;

/// The name that every hub's certificate carries and every agent asks for, by whatever address it reaches the hub.
pub const HUB_NAME: &str = "skiff-hub";

/// How often the agent sends a packet on an idle connection. Ping and acknowledgement take about 120 bytes with UDP
/// and IP headers, so that an idle link stays within 2 KB a minute, and NAT bindings (30 s and more) stay open.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Silence after which either side gives the connection up: two lost keep-alives and some.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(38);

/// Streams that the hub may have open towards one agent at once (logs and the like). quinn allocates each slot.
pub const HUB_STREAMS: u32 = 32;

/// Bytes that a peer may send on one stream before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;

/// Why a connection was closed, as a QUIC application error code. The reason text beside it is for people.
pub mod close {
    use quinn::VarInt;

    /// The side that closes stops or is done.
    pub const DONE: VarInt = VarInt::from_u32(0);
    /// A newer connection of the same node took over.
    pub const REPLACED: VarInt = VarInt::from_u32(1);
    /// A frame was malformed, oversized or out of place.
    pub const PROTOCOL: VarInt = VarInt::from_u32(2);
    /// The peer may not do what it asked for.
    pub const REFUSED: VarInt = VarInt::from_u32(3);
    /// The side that closes failed; trying again later makes sense.
    pub const FAILED: VarInt = VarInt::from_u32(4);
}

/// Why a TLS configuration cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Keys and certificates do not fit together, or are unusable.
    #[error("the key and certificates are not usable for TLS")]
    Rustls(#[from] rustls::Error),
    /// Cannot happen with ring's cipher suites.
    #[error("the TLS provider lacks QUIC's initial cipher suite")]
    Suite(#[from] NoInitialCipherSuite),
}

/// A certificate in PEM.
pub fn certificate_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// The one crypto provider, always named so that no second one can slip in.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Transport settings. Windows bound what one peer can make the other hold; stream slots are eager memory in quinn.
fn transport(peer_bidi: u32) -> TransportConfig {
    let mut t = TransportConfig::default();
    // Streams whose readers stall keep their whole window; the control stream must still have its own then.
    t.stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STREAM_WINDOW * (HUB_STREAMS + 4)))
        .send_window(256 * 1024)
        .max_concurrent_bidi_streams(VarInt::from_u32(peer_bidi))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(None)
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
    t
}

/// The hub's QUIC configuration. `chain` must hold the CA's certificate too: joining agents pin it.
///
/// # Errors
/// [`TlsError`] when the key does not fit the certificate.
pub fn hub_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<quinn::ServerConfig, TlsError> {
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would not have its client certificate checked again.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    // The agent opens the control stream, and nothing else.
    config.transport_config(Arc::new(transport(1)));
    Ok(config)
}

/// The QUIC configuration of a joined agent: mutual TLS with the CA it pinned.
///
/// # Errors
/// [`TlsError`] when the key does not fit the certificate.
pub fn agent_config(
    ca: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<quinn::ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca)?;
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    client(tls)
}

/// The QUIC configuration of a joining agent: no certificate of its own yet, and a hub whose CA has the given fingerprint.
///
/// # Errors
/// [`TlsError`].
pub fn join_config(pin: Arc<PinnedCa>) -> Result<quinn::ClientConfig, TlsError> {
    let tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pin)
        .with_no_client_auth();
    client(tls)
}

fn client(mut tls: rustls::ClientConfig) -> Result<quinn::ClientConfig, TlsError> {
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = transport(HUB_STREAMS);
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}
