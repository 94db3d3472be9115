//! Certificate signing requests: who asks for what, and who may approve it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::{Request, refuse};
use crate::auth::{Attributes, MASTERS};
use crate::objects::error::Error;
use crate::objects::subresource::{APPROVAL, STATUS};

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Writes down who asks, and checks who approves and who signs.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    if request.target.kind.group != GROUP {
        return Ok(());
    }
    match (request.target.subresource.as_str(), request.old) {
        (APPROVAL, _) => return permitted(request, object, "approve"),
        (STATUS, Some(old)) if is_signing(object, old) => return permitted(request, object, "sign"),
        _ => {}
    }
    if request.old.is_some() {
        return Ok(());
    }
    let user = request.user;
    object["spec"]["username"] = json!(user.name);
    object["spec"]["groups"] = json!(user.groups);
    for (field, value) in [("uid", json!(user.uid)), ("extra", json!(user.extra))] {
        if value != json!("") && value != json!({}) {
            object["spec"][field] = value;
        } else if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove(field);
        }
    }
    if object["spec"]["signerName"] == CLIENT_SIGNER && asks_for_masters(object) {
        let detail = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
        return Err(refuse(request, object, detail));
    }
    Ok(())
}

/// Whether a status says more than before of the certificate, or of why there is none.
fn is_signing(object: &Value, old: &Value) -> bool {
    ["certificate", "conditions"].iter().any(|field| object["status"][field] != old["status"][field])
}

/// Whether the user may decide on requests of this signer.
fn permitted(request: &Request<'_>, object: &Value, verb: &str) -> Result<(), Error> {
    let signer = object["spec"]["signerName"].as_str().unwrap_or_default();
    let domain = signer.split('/').next().unwrap_or_default();
    let may = |name: &str| {
        let wanted = Attributes { verb, group: GROUP, resource: "signers", name, ..Attributes::default() };
        request.authorizer.authorize(request.user, &wanted, request.snapshot).allowed
    };
    if may(signer) || may(&format!("{domain}/*")) {
        return Ok(());
    }
    Err(refuse(request, object, format!("user not permitted to {verb} requests with signerName {signer:?}")))
}

fn asks_for_masters(object: &Value) -> bool {
    let pem = STANDARD.decode(object["spec"]["request"].as_str().unwrap_or_default()).unwrap_or_default();
    let Ok(der) = CertificateSigningRequestDer::from_pem_slice(&pem) else { return false };
    X509CertificationRequest::from_der(&der).is_ok_and(|(_, request)| {
        let subject = &request.certification_request_info.subject;
        subject.iter_organization().any(|o| o.as_str() == Ok(MASTERS))
    })
}
