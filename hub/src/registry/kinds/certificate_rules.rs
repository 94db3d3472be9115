//! What certificate signing requests carry: PEM blocks, and the name of a signer.

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::registry::fields::{Errors, Path, quoted};
use crate::registry::names;

const REQUEST: &str = "CERTIFICATE REQUEST";
const CERTIFICATE: &str = "CERTIFICATE";
const DOMAIN_MAX: usize = 253;
/// A domain, a slash, and the name of an object with its namespace.
const SIGNER_MAX: usize = DOMAIN_MAX + 1 + 253 + 63 + 1;

/// Whether this is a certificate signing request in PEM.
///
/// # Errors
/// What is wrong, in Kubernetes' words as far as these are its own.
pub(super) fn request(pem: &[u8]) -> Result<(), String> {
    match Pem::iter_from_buffer(pem).next() {
        Some(Ok(block)) if block.label == REQUEST => X509CertificationRequest::from_der(&block.contents)
            .map(drop)
            .map_err(|_| "asn1: structure error: malformed certificate request".to_owned()),
        _ => Err(format!("PEM block type must be {REQUEST}")),
    }
}

/// Whether these are certificates in PEM, or nothing.
///
/// # Errors
/// What is wrong, in Kubernetes' words as far as these are its own.
pub(super) fn certificates(pem: &[u8]) -> Result<(), String> {
    if pem.is_empty() {
        return Ok(());
    }
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(pem).map_while(Result::ok) {
        if block.label != CERTIFICATE {
            return Err(format!("only {CERTIFICATE} PEM blocks are allowed, found {:?}", block.label));
        }
        if X509Certificate::from_der(&block.contents).is_err() {
            return Err("x509: malformed certificate".to_owned());
        }
        blocks += 1;
    }
    if blocks == 0 { Err(format!("must contain at least one {CERTIFICATE} PEM block")) } else { Ok(()) }
}

/// Validates the name of a signer: a path of one part below a domain.
pub(super) fn signer_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "signerName must be provided");
    }
    let [domain, rest] = name.split('/').collect::<Vec<_>>()[..] else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(path, quoted(name), detail);
    };
    if domain.len() > DOMAIN_MAX {
        errors.too_long(path, DOMAIN_MAX);
    }
    labels(domain, names::dns_label, path, errors);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.invalid(path, quoted(domain), detail);
    }
    labels(rest, names::dns_subdomain, path, errors);
    if name.len() > SIGNER_MAX {
        errors.too_long(path, SIGNER_MAX);
    }
}

/// Reports the first part of a dotted name that is wrong.
fn labels(name: &str, rule: names::Rule, path: &Path, errors: &mut Errors) {
    let wrong = name.split('.').map(|label| (label, rule(label))).find(|(_, complaints)| !complaints.is_empty());
    if let Some((label, complaints)) = wrong {
        for complaint in complaints {
            errors.invalid(path, quoted(name), format!("validating label {label:?}: {complaint}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kinds::testing::REQUEST as GOOD;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn signers() {
        for (name, expected) in [
            ("example.com/serving", vec![]),
            ("", vec!["s: Required value: signerName must be provided"]),
            (
                "a",
                vec![
                    "s: Invalid value: \"a\": must be a fully qualified domain and path of the form 'example.com/signer-name'",
                ],
            ),
            (
                "localhost/a",
                vec![
                    "s: Invalid value: \"localhost\": should be a domain with at least two segments separated by dots",
                ],
            ),
            (
                "A.io/b",
                vec![
                    "s: Invalid value: \"A.io\": validating label \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                ],
            ),
        ] {
            let mut errors = Errors::default();
            signer_name(name, &Path::new("s"), &mut errors);
            let found: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn blocks() {
        let good = STANDARD.decode(GOOD).unwrap();
        assert_eq!(request(&good), Ok(()));
        assert_eq!(request(b""), Err("PEM block type must be CERTIFICATE REQUEST".into()));
        assert_eq!(certificates(b""), Ok(()));
        assert_eq!(certificates(b"x"), Err("must contain at least one CERTIFICATE PEM block".into()));
        assert_eq!(
            certificates(&good),
            Err("only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\"".into())
        );
        let empty = b"-----BEGIN CERTIFICATE REQUEST-----\neA==\n-----END CERTIFICATE REQUEST-----\n";
        assert_eq!(request(empty), Err("asn1: structure error: malformed certificate request".into()));
    }
}
