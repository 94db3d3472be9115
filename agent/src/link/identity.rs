//! Who this node is: `agent.key`, `agent.crt` and `ca.crt` in the data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use skiff_shared::ids::NodeName;
use skiff_shared::tls::{agent_config, certificate_pem};

use super::LinkError;
use super::certificate::{Facts, facts};

/// Prefix of the name in a node's certificate.
const NODE_PREFIX: &str = "system:node:";

/// A joined node's credentials.
#[derive(Debug)]
pub(super) struct Identity {
    dir: PathBuf,
    key: KeyPair,
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
    facts: Facts,
}

impl Identity {
    /// Reads the credentials; `None` when the node has not joined.
    pub(super) fn load(dir: &Path, node: &NodeName) -> Result<Option<Self>, LinkError> {
        let path = dir.join("agent.crt");
        if !path.try_exists().map_err(failed("read", &path))? {
            return Ok(None);
        }
        let certificate = read_certificate(&path)?;
        let ca = read_certificate(&dir.join("ca.crt"))?;
        let key = read_key(&dir.join("agent.key"))?;
        Self::new(dir, node, key, certificate, ca).map(Some)
    }

    /// Checks and stores what a join brought. The certificate goes last: with it the node has joined.
    pub(super) fn store(
        dir: &Path,
        node: &NodeName,
        key: KeyPair,
        certificate_der: Vec<u8>,
        ca_der: Vec<u8>,
    ) -> Result<Self, LinkError> {
        let new = Self::new(dir, node, key, certificate_der.into(), ca_der.into())?;
        new.config()?;
        write_private(&dir.join("ca.crt"), certificate_pem(&new.ca).as_bytes())?;
        write_private(&dir.join("agent.crt"), certificate_pem(&new.certificate).as_bytes())?;
        Ok(new)
    }

    fn new(
        dir: &Path,
        node: &NodeName,
        key: KeyPair,
        certificate: CertificateDer<'static>,
        ca: CertificateDer<'static>,
    ) -> Result<Self, LinkError> {
        let path = dir.join("agent.crt");
        let facts = facts(&certificate).ok_or(LinkError::Corrupt { path: path.clone(), what: "certificate" })?;
        let found = facts.common_name.strip_prefix(NODE_PREFIX).unwrap_or(&facts.common_name);
        if found != node.as_str() {
            return Err(LinkError::OtherNode { path, found: found.to_owned(), wanted: node.to_string() });
        }
        Ok(Self { dir: dir.to_owned(), key, certificate, ca, facts })
    }

    /// The QUIC configuration that presents these credentials.
    pub(super) fn config(&self) -> Result<quinn::ClientConfig, LinkError> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        Ok(agent_config(self.ca.clone(), self.certificate.clone(), key)?)
    }

    /// Whether the certificate is in the last third of its life.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let (start, end) = (self.facts.not_before.as_second(), self.facts.not_after.as_second());
        now.as_second() >= end - (end - start) / 3
    }

    /// A signing request for the same key.
    pub(super) fn request(&self) -> Result<Vec<u8>, LinkError> {
        signing_request(&self.key)
    }

    /// Takes a renewed certificate into use and stores it.
    pub(super) fn renew(&mut self, certificate_der: Vec<u8>) -> Result<(), LinkError> {
        let path = self.dir.join("agent.crt");
        let certificate = CertificateDer::from(certificate_der);
        let facts = facts(&certificate)
            .filter(|facts| facts.common_name == self.facts.common_name)
            .ok_or(LinkError::Corrupt { path: path.clone(), what: "renewed certificate" })?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        agent_config(self.ca.clone(), certificate.clone(), key)?;
        write_private(&path, certificate_pem(&certificate).as_bytes())?;
        (self.certificate, self.facts) = (certificate, facts);
        Ok(())
    }
}

/// The node's key, made at the first call. It never leaves the machine.
pub(super) fn key(dir: &Path) -> Result<KeyPair, LinkError> {
    let path = dir.join("agent.key");
    if path.try_exists().map_err(failed("read", &path))? {
        return read_key(&path);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
    let key = KeyPair::generate()?;
    write_private(&path, key.serialize_pem().as_bytes())?;
    Ok(key)
}

/// A certificate signing request. The hub takes only the public key from it.
pub(super) fn signing_request(key: &KeyPair) -> Result<Vec<u8>, LinkError> {
    Ok(CertificateParams::default().serialize_request(key)?.der().to_vec())
}

fn read_key(path: &Path) -> Result<KeyPair, LinkError> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    KeyPair::from_pem(&text).map_err(|_| LinkError::Corrupt { path: path.to_owned(), what: "private key" })
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, LinkError> {
    let text = fs::read(path).map_err(failed("read", path))?;
    CertificateDer::from_pem_slice(&text).map_err(|_| LinkError::Corrupt { path: path.to_owned(), what: "certificate" })
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LinkError {
    let path = path.to_owned();
    move |source| LinkError::File { operation, path, source }
}

/// Writes a file of mode 0600 under a temporary name, makes it durable, and moves it into place.
fn write_private(path: &Path, content: &[u8]) -> Result<(), LinkError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(failed("write", path))
}
