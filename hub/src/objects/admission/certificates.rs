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
use crate::objects::subresource::APPROVAL;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Writes down who asks, and checks who approves.
pub(super) fn check(request: &Request<'_>, object: &mut Value) -> Result<(), Error> {
    if request.target.kind.group != GROUP {
        return Ok(());
    }
    if request.target.subresource == APPROVAL {
        return approval(request, object);
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

fn approval(request: &Request<'_>, object: &Value) -> Result<(), Error> {
    let signer = object["spec"]["signerName"].as_str().unwrap_or_default();
    let domain = signer.split('/').next().unwrap_or_default();
    let may = |name: &str| {
        let wanted = Attributes { verb: "approve", group: GROUP, resource: "signers", name, ..Attributes::default() };
        request.authorizer.authorize(request.user, &wanted, request.snapshot).allowed
    };
    if may(signer) || may(&format!("{domain}/*")) {
        return Ok(());
    }
    Err(refuse(request, object, format!("user not permitted to approve requests with signerName {signer:?}")))
}

fn asks_for_masters(object: &Value) -> bool {
    let pem = STANDARD.decode(object["spec"]["request"].as_str().unwrap_or_default()).unwrap_or_default();
    let Ok(der) = CertificateSigningRequestDer::from_pem_slice(&pem) else { return false };
    X509CertificationRequest::from_der(&der).is_ok_and(|(_, request)| {
        let subject = &request.certification_request_info.subject;
        subject.iter_organization().any(|o| o.as_str() == Ok(MASTERS))
    })
}
