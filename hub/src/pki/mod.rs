//! The hub's certificate authority: its own certificates, those of the nodes, the admin's credentials and join tokens.
//!
//! Everything lives under the data directory: `pki/` for keys and certificates, `tokens/` for join tokens,
//! `admin.kubeconfig` and `admin.token` for the administrator. Private files are 0600. Nothing here is asynchronous.

mod authority;
mod clients;
mod files;
mod kubeconfig;
mod local;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use skiff_shared::ids::NodeName;
use skiff_shared::tls::{HUB_NAME, TlsError, provider};
use skiff_shared::wire::token::fingerprint;
use subtle::ConstantTimeEq;

use authority::{Authority, Pair, Usage};
pub use authority::{Identity, Subject, identity, request_key};
pub use local::{addresses as local_addresses, hostname as local_hostname};
use tokens::Tokens;

/// Name of the administrator, in its certificate, its token and its kubeconfig.
pub const ADMIN: &str = "kubernetes-admin";
/// The group that may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of all nodes' certificates.
pub const NODES: &str = "system:nodes";
/// Prefix of the name in a node's certificate.
pub const NODE_PREFIX: &str = "system:node:";

/// Why keys, certificates or tokens could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Join tokens are asked of a directory that is not there: most likely mistyped, so it is not made.
    #[error("there is no data directory {0}; `skiff-hub serve` makes it")]
    NoDataDir(PathBuf),
    /// A file could not be read or written.
    #[error("failed to {operation} {path}")]
    File {
        /// E.g. `write`.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no key or certificate.
    #[error("{path} does not hold a valid {what}")]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// E.g. `certificate`.
        what: &'static str,
    },
    /// A certificate could not be made.
    #[error("failed to sign a certificate for {name}")]
    Sign {
        /// Whose.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A signing request is malformed or not signed by its own key.
    #[error("the certificate signing request is not valid")]
    Request(#[source] rcgen::Error),
    /// Key and certificate do not fit together.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system's random numbers are not available.
    #[error("the system gives no random numbers")]
    Random,
}

/// What the hub's certificates and the admin's kubeconfig say.
#[derive(Debug, Clone)]
pub struct PkiOptions {
    /// Address under which clients reach the hub, where it is set; the kubeconfig names it, else 127.0.0.1.
    pub advertise: Option<IpAddr>,
    /// TCP port of the API.
    pub port: u16,
    /// Further addresses for the server's certificate ([`local_addresses`]).
    pub addresses: Vec<IpAddr>,
    /// Host name for the server's certificate ([`local_hostname`]); may be empty.
    pub hostname: String,
    /// First address of the service network: the `kubernetes` Service.
    pub service_ip: IpAddr,
    /// E.g. `cluster.local`.
    pub cluster_domain: String,
}

/// The join tokens of a data directory, beside a hub that may be running. Makes the CA where there is none yet.
///
/// # Errors
/// [`PkiError`] when there is no such directory, or files cannot be read or written, or hold something else.
pub fn tokens_of(dir: &Path, now: Timestamp) -> Result<Tokens, PkiError> {
    if !dir.is_dir() {
        return Err(PkiError::NoDataDir(dir.to_owned()));
    }
    let pki = dir.join("pki");
    files::private_dir(&pki)?;
    let authority = Authority::open_or_create(&pki, now)?;
    Tokens::open(dir, fingerprint(authority.der()))
}

/// The open PKI of one data directory.
#[derive(Debug)]
pub struct Pki {
    authority: Authority,
    server: Pair,
    admin_token: String,
    tokens: Tokens,
    account_key: Vec<u8>,
}

impl Pki {
    /// Opens the PKI under `dir`, making what is missing and renewing what nears its end or no longer names every
    /// address, and writes `admin.kubeconfig` and `admin.token`.
    ///
    /// # Errors
    /// [`PkiError`] when files cannot be read or written, or hold something else.
    pub fn open_or_create(dir: &Path, options: &PkiOptions, now: Timestamp) -> Result<Self, PkiError> {
        let pki = dir.join("pki");
        files::private_dir(&pki)?;
        let authority = Authority::open_or_create(&pki, now)?;
        let server = authority.leaf(&pki, "server", &server_usage(options), now)?;
        let admin = Usage { name: ADMIN.into(), groups: vec![MASTERS.into()], names: vec![], server: false };
        let admin = authority.leaf(&pki, "admin", &admin, now)?;
        let text = kubeconfig::render(&authority.pem(), &admin, options.advertise, options.port);
        files::write_private(&dir.join("admin.kubeconfig"), text.as_bytes())?;
        let admin_token = admin_token(&dir.join("admin.token"))?;
        let tokens = Tokens::open(dir, fingerprint(authority.der()))?;
        let account_key = authority::signing_key(&pki.join("sa.key"))?;
        Ok(Self { authority, server, admin_token, tokens, account_key })
    }

    /// The CA's certificate, PEM.
    pub fn ca_pem(&self) -> String {
        self.authority.pem()
    }

    /// The CA's certificate, DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        self.authority.der()
    }

    /// The P-256 key (PKCS #8, DER) that signs the tokens of service accounts.
    pub fn account_key(&self) -> &[u8] {
        &self.account_key
    }

    /// The join tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Signs a client certificate for a node, valid for a year. Only the public key is taken from the request.
    ///
    /// # Errors
    /// [`PkiError::Request`] when the request is malformed; [`PkiError::Sign`].
    pub fn sign_node(
        &self,
        node: &NodeName,
        request_der: &[u8],
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let usage =
            Usage { name: format!("{NODE_PREFIX}{node}"), groups: vec![NODES.into()], names: vec![], server: false };
        self.authority.sign_request(&usage, request_der, now)
    }

    /// Signs a client certificate for the subject and key of a request (PEM); gives it in PEM form.
    ///
    /// # Errors
    /// [`PkiError::Request`] when the request is malformed; [`PkiError::Sign`].
    pub fn sign_client(&self, request_pem: &[u8], lifetime: Duration, now: Timestamp) -> Result<String, PkiError> {
        self.authority.sign_client(request_pem, lifetime, now)
    }

    /// Who presents this bearer token, if it is the administrator's. Compared in constant time.
    pub fn bearer(&self, token: &str) -> Option<Subject> {
        let same: bool = self.admin_token.as_bytes().ct_eq(token.as_bytes()).into();
        same.then(|| Subject { name: ADMIN.into(), groups: vec![MASTERS.into()] })
    }

    /// The TLS configuration of the API: HTTP/2 and 1.1, and client certificates, which [`Pki::is_client`] then judges.
    ///
    /// # Errors
    /// [`PkiError::Tls`].
    pub fn https_config(&self) -> Result<rustls::ServerConfig, PkiError> {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::from)?
            .with_client_cert_verifier(Arc::new(clients::AnyClient(self.client_verifier()?)))
            .with_single_cert(self.chain(), self.server.key())
            .map_err(TlsError::from)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would not have its client certificate checked again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Whether a client's certificate, with those that lead to the CA, is of this CA and of the time.
    pub fn is_client(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        self.client_verifier().is_ok_and(|verifier| clients::is_good(&*verifier, chain, now))
    }

    /// The QUIC configuration of the agents' endpoint. A client without a certificate may connect (to join); one with
    /// a certificate of another CA is refused in the handshake.
    ///
    /// # Errors
    /// [`PkiError::Tls`].
    pub fn quic_config(&self) -> Result<quinn::ServerConfig, PkiError> {
        Ok(skiff_shared::tls::hub_config(self.chain(), self.server.key(), self.client_verifier()?)?)
    }

    /// A secret that outlives restarts, for the endpoint's stateless resets and connection ids (RFC 9000, 10.3): an agent
    /// whose hub was killed learns at its next packet that the connection is gone, not only when it has timed out.
    pub(crate) fn endpoint_secret(&self) -> [u8; 32] {
        let mut seed = b"skiff endpoint\0".to_vec();
        seed.extend_from_slice(self.server.key().secret_der());
        fingerprint(&seed)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.server.certificate.clone(), self.authority.der().clone()]
    }

    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).map_err(TlsError::from)?;
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|e| PkiError::Tls(TlsError::Rustls(rustls::Error::General(e.to_string()))))
    }
}

/// The names that clients may reach the hub by.
fn server_usage(options: &PkiOptions) -> Usage {
    let mut names: Vec<String> = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", HUB_NAME]
        .into_iter()
        .map(str::to_owned)
        .collect();
    names.push(format!("kubernetes.default.svc.{}", options.cluster_domain));
    if skiff_shared::ids::is_dns_subdomain(&options.hostname) {
        names.push(options.hostname.clone());
    }
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned(), options.service_ip.to_string()]);
    names.extend(options.advertise.iter().chain(&options.addresses).map(IpAddr::to_string));
    names.sort();
    names.dedup();
    Usage { name: "skiff-hub".into(), groups: vec![], names, server: true }
}

fn admin_token(path: &Path) -> Result<String, PkiError> {
    if let Some(text) = files::read(path)? {
        let token = String::from_utf8(text).unwrap_or_default().trim().to_owned();
        return if token.len() >= 32 {
            Ok(token)
        } else {
            Err(PkiError::Corrupt { path: path.to_owned(), what: "bearer token (at least 32 characters)" })
        };
    }
    let token = files::random_text::<32>()?;
    files::write_private(path, format!("{token}\n").as_bytes())?;
    Ok(token)
}
