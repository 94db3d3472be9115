//! The CA: makes, keeps, renews and reads ECDSA P-256 certificates.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{PkiError, files};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Certificates are valid from a day before they are made: clocks of small machines may lag.
const SKEW: Duration = DAY;
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// The hub's own certificates are made anew at a start within this time of their end.
const RENEW_BEFORE: Duration = Duration::from_secs(120 * 24 * 3600);

/// What a leaf certificate says.
#[derive(Debug, Clone)]
pub(super) struct Usage {
    /// Common name.
    pub(super) name: String,
    /// Organisations.
    pub(super) groups: Vec<String>,
    /// DNS names and IP addresses.
    pub(super) names: Vec<String>,
    /// For a server, else for a client.
    pub(super) server: bool,
}

/// A certificate with its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
    key: Vec<u8>,
}

impl Pair {
    /// The key, for TLS.
    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

/// The CA's certificate and key.
pub(super) struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads `ca.crt` and `ca.key`, or makes both. One without the other is an error: agents trust the old CA.
    pub(super) fn open_or_create(dir: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let (crt, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        match (files::read(&crt)?, files::read(&key)?) {
            (Some(_), Some(_)) => {}
            (None, None) => create_ca(&crt, &key, now)?,
            (None, Some(_)) => return Err(PkiError::Corrupt { path: crt, what: "certificate (it is missing)" }),
            (Some(_), None) => return Err(PkiError::Corrupt { path: key, what: "key (it is missing)" }),
        }
        let (pem, certificate) = read_certificate(&crt)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, read_key(&key)?.0)
            .map_err(|_| PkiError::Corrupt { path: crt, what: "CA certificate" })?;
        Ok(Self { certificate, pem, issuer })
    }

    /// The certificate, DER.
    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate, PEM.
    pub(super) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Reads `NAME.crt` and `NAME.key`; makes both where missing, of another CA, without a wanted name or near their end.
    pub(super) fn leaf(&self, dir: &Path, file: &str, usage: &Usage, now: Timestamp) -> Result<Pair, PkiError> {
        let (crt, key) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
        if files::read(&crt)?.is_some() && files::read(&key)?.is_some() {
            let (certificate_pem, certificate) = read_certificate(&crt)?;
            let (pair, key_pem) = read_key(&key)?;
            if self.still_good(&certificate, &pair, usage, now) {
                return Ok(Pair { certificate, certificate_pem, key_pem, key: pair.serialize_der() });
            }
        }
        let failed = |source| PkiError::Sign { name: usage.name.clone(), source };
        let pair = KeyPair::generate().map_err(failed)?;
        let made = usage.params(now)?.signed_by(&pair, &self.issuer).map_err(failed)?;
        // The key first: after a crash in between, the pair does not fit together and is made again.
        files::write_private(&key, pair.serialize_pem().as_bytes())?;
        files::write_private(&crt, made.pem().as_bytes())?;
        Ok(Pair {
            certificate: made.der().clone(),
            certificate_pem: made.pem(),
            key_pem: pair.serialize_pem(),
            key: pair.serialize_der(),
        })
    }

    /// Signs for the public key of a request; everything else in the request is ignored.
    pub(super) fn sign_request(
        &self,
        usage: &Usage,
        request: &[u8],
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let mut request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(PkiError::Request)?;
        request.params = usage.params(now)?;
        let signed = request.signed_by(&self.issuer);
        signed.map(|c| c.der().clone()).map_err(|source| PkiError::Sign { name: usage.name.clone(), source })
    }

    /// Signs for subject and public key of a request, for a client; everything else in the request is ignored.
    pub(super) fn sign_client(&self, pem: &[u8], lifetime: Duration, now: Timestamp) -> Result<String, PkiError> {
        let malformed = |_| PkiError::Request(rcgen::Error::CouldNotParseCertificationRequest);
        let request = CertificateSigningRequestDer::from_pem_slice(pem).map_err(malformed)?;
        let mut request = CertificateSigningRequestParams::from_der(&request).map_err(PkiError::Request)?;
        let subject = request.params.distinguished_name;
        let name = subject.get(&DnType::CommonName).map(|name| format!("{name:?}")).unwrap_or_default();
        let usage = Usage { name: name.clone(), groups: vec![], names: vec![], server: false };
        let mut params = usage.params(now)?;
        params.distinguished_name = subject;
        request.params = dated(params, now, lifetime)?;
        let signed = request.signed_by(&self.issuer);
        signed.map(|c| c.pem()).map_err(|source| PkiError::Sign { name, source })
    }

    fn still_good(&self, certificate: &CertificateDer<'_>, key: &KeyPair, usage: &Usage, now: Timestamp) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        let Ok((_, ca)) = X509Certificate::from_der(&self.certificate) else { return false };
        let wanted: BTreeSet<&str> = usage.names.iter().map(String::as_str).collect();
        let named = subject_names(&parsed);
        let end = now.as_second().saturating_add_unsigned(RENEW_BEFORE.as_secs());
        parsed.verify_signature(Some(ca.public_key())).is_ok()
            && parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
            && parsed.validity().not_after.timestamp() > end
            && wanted.iter().all(|name| named.contains(*name))
    }
}

impl Usage {
    fn params(&self, now: Timestamp) -> Result<CertificateParams, PkiError> {
        let mut params = CertificateParams::new(self.names.clone())
            .map_err(|source| PkiError::Sign { name: self.name.clone(), source })?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        for group in &self.groups {
            params.distinguished_name.push(DnType::OrganizationName, DnValue::Utf8String(group.clone()));
        }
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String(self.name.clone()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![if self.server { ExtendedKeyUsagePurpose::ServerAuth } else { ExtendedKeyUsagePurpose::ClientAuth }];
        params.use_authority_key_identifier_extension = true;
        dated(params, now, LEAF_LIFETIME)
    }
}

fn create_ca(crt: &Path, key: &Path, now: Timestamp) -> Result<(), PkiError> {
    let failed = |source| PkiError::Sign { name: "the CA".into(), source };
    let pair = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // Two hubs' CAs must not share a name, or clients mix them up.
    params.distinguished_name.push(DnType::CommonName, format!("skiff-ca-{}", files::random_text::<6>()?));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let made = dated(params, now, CA_LIFETIME)?.self_signed(&pair).map_err(failed)?;
    files::write_private(key, pair.serialize_pem().as_bytes())?;
    files::write_private(crt, made.pem().as_bytes())
}

fn dated(mut params: CertificateParams, now: Timestamp, lifetime: Duration) -> Result<CertificateParams, PkiError> {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_second().try_into().unwrap_or_default());
    params.not_before = now - SKEW;
    params.not_after = now + lifetime;
    params.serial_number = Some(SerialNumber::from_slice(&files::random::<16>()?));
    Ok(params)
}

/// Reads a P-256 key, or makes one, and gives it in PKCS #8 form.
pub(super) fn signing_key(path: &Path) -> Result<Vec<u8>, PkiError> {
    if files::read(path)?.is_none() {
        let failed = |source| PkiError::Sign { name: "service accounts".into(), source };
        files::write_private(path, KeyPair::generate().map_err(failed)?.serialize_pem().as_bytes())?;
    }
    Ok(read_key(path)?.0.serialize_der())
}

fn read_certificate(path: &Path) -> Result<(String, CertificateDer<'static>), PkiError> {
    let corrupt = || PkiError::Corrupt { path: path.to_owned(), what: "certificate" };
    let pem = String::from_utf8(files::read(path)?.unwrap_or_default()).map_err(|_| corrupt())?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| corrupt())?;
    X509Certificate::from_der(&der).map_err(|_| corrupt())?;
    Ok((pem, der))
}

fn read_key(path: &Path) -> Result<(KeyPair, String), PkiError> {
    let corrupt = || PkiError::Corrupt { path: path.to_owned(), what: "private key" };
    let pem = String::from_utf8(files::read(path)?.unwrap_or_default()).map_err(|_| corrupt())?;
    Ok((KeyPair::from_pem(&pem).map_err(|_| corrupt())?, pem))
}

fn subject_names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| ip.to_string()),
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::URI(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => None,
        })
        .collect()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok().or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
}

/// A user, as certificates and tokens name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Common name: the user.
    pub name: String,
    /// Organisations: the groups.
    pub groups: Vec<String>,
}

/// Who a certificate names, and with which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub subject: Subject,
    /// The public key (`SubjectPublicKeyInfo`, DER).
    pub public_key: Vec<u8>,
}

/// Reads whom a certificate names; `None` when it is malformed or has no common name.
pub fn identity(certificate_der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    Some(Identity { subject: Subject { name, groups }, public_key: certificate.public_key().raw.to_vec() })
}

/// The public key (`SubjectPublicKeyInfo`, DER) of a certificate signing request; `None` when it is malformed.
pub fn request_key(request_der: &[u8]) -> Option<Vec<u8>> {
    let (_, request) = X509CertificationRequest::from_der(request_der).ok()?;
    Some(request.certification_request_info.subject_pki.raw.to_vec())
}
