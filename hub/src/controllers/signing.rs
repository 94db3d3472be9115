//! Signs approved requests for client certificates (`kubernetes.io/kube-apiserver-client`).

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::reconcile::events::seconds;
use crate::reconcile::{Controller, Plan, PlannedWrite, view};
use crate::store::{Event, Key, Snapshot};

/// Storage name of certificate signing requests.
pub(super) const REQUESTS: &str = "certificatesigningrequests.certificates.k8s.io";
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const USAGES: [&str; 3] = ["client auth", "digital signature", "key encipherment"];
const YEAR: i64 = 365 * 24 * 3600;

/// The certificate authority, as the controller needs it.
pub trait ClientAuthority: Send + Sync + fmt::Debug {
    /// A client certificate (PEM) for the subject and key of a request (PEM), good for some seconds.
    ///
    /// # Errors
    /// Why the request cannot be signed.
    fn sign(&self, request_pem: &[u8], seconds: i64, now: Timestamp) -> Result<String, String>;
}

/// Signs requests.
#[derive(Debug)]
pub struct Signing {
    authority: Arc<dyn ClientAuthority>,
}

impl Signing {
    /// With the cluster's authority.
    pub fn new(authority: Arc<dyn ClientAuthority>) -> Self {
        Self { authority }
    }

    fn sign(&self, spec: &Value, now: Timestamp) -> Result<String, String> {
        let usages: Vec<&str> = spec["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !usages.contains(&"client auth") || usages.iter().any(|u| !USAGES.contains(u)) {
            return Err(format!("usages did not match allowed usages: {}", USAGES.join(", ")));
        }
        let pem = STANDARD.decode(spec["request"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
        let asked = spec["expirationSeconds"].as_i64().unwrap_or(YEAR);
        self.authority.sign(&pem, asked.clamp(1, YEAR), now).map(|certificate| STANDARD.encode(certificate))
    }
}

impl Controller for Signing {
    fn name(&self) -> &'static str {
        "certificate-controller"
    }

    fn keys(&self, event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        view::changed(event, REQUESTS)
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        view::all(snapshot, REQUESTS)
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let Some(stored) = snapshot.get(key) else { return Plan::nothing() };
        let mut object: Value = stored.parse().unwrap_or_default();
        let has =
            |kind: &str| object["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == kind);
        let ready = has("Approved") && !has("Denied") && !has("Failed");
        if !ready || object["spec"]["signerName"] != SIGNER || !object["status"]["certificate"].is_null() {
            return Plan::nothing();
        }
        let why = match self.sign(&object["spec"], now) {
            Ok(certificate) => {
                object["status"]["certificate"] = certificate.into();
                format!("sign the approved request {}", key.name)
            }
            Err(error) => {
                let why = format!("the request {} cannot be signed: {error}", key.name);
                let failed = json!({
                    "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": error,
                    "lastUpdateTime": seconds(now), "lastTransitionTime": seconds(now),
                });
                object["status"]["conditions"].as_array_mut().into_iter().for_each(|list| list.push(failed.clone()));
                why
            }
        };
        let (key, revision) = (key.clone(), stored.revision);
        let write = PlannedWrite::Update { key, revision, subresource: "status", object };
        Plan { writes: vec![write], why, ..Plan::nothing() }
    }
}
