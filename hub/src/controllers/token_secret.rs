//! Secrets of type `kubernetes.io/service-account-token`: filled with a token, and gone with their account.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use crate::auth::jwt::Signer;
use crate::auth::tokens::{Reference, legacy_claims};
use crate::reconcile::view;
use crate::reconcile::{Controller, Plan, PlannedWrite};
use crate::store::{Event, Key, Snapshot};

const TYPE: &str = "kubernetes.io/service-account-token";
const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// Fills token Secrets.
#[derive(Debug)]
pub struct TokenSecrets {
    signer: Arc<Signer>,
    ca: String,
}

impl TokenSecrets {
    /// With what signs tokens, and the CA certificate in PEM form.
    pub fn new(signer: Arc<Signer>, ca_pem: &str) -> Self {
        Self { signer, ca: STANDARD.encode(ca_pem) }
    }

    fn filled(&self, namespace: &str, mut secret: Value, account: &Reference) -> Option<Value> {
        let name = secret["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let has = |field: &str| secret["data"][field].as_str().is_some_and(|v| !v.is_empty());
        let known = secret["metadata"]["annotations"][UID] == account.uid;
        if known && has("token") && has("namespace") && secret["data"]["ca.crt"] == self.ca {
            return None;
        }
        let token = self.signer.sign(&legacy_claims(namespace, &name, account))?;
        if !(known && has("token")) {
            secret["data"]["token"] = STANDARD.encode(token).into();
        }
        secret["metadata"]["annotations"][UID] = account.uid.as_str().into();
        secret["data"]["namespace"] = STANDARD.encode(namespace).into();
        secret["data"]["ca.crt"] = self.ca.as_str().into();
        Some(secret)
    }
}

impl Controller for TokenSecrets {
    fn name(&self) -> &'static str {
        "tokens-controller"
    }

    fn keys(&self, event: &Event, snapshot: &Snapshot) -> Vec<Key> {
        let key = &event.object.key;
        match &*key.resource {
            "secrets" => vec![key.clone()],
            "serviceaccounts" => {
                snapshot.list(&"secrets".into(), Some(&key.namespace)).map(|s| s.key.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        view::all(snapshot, "secrets")
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, _now: Timestamp) -> Plan {
        let Some(stored) = snapshot.get(key).filter(|s| !s.meta.deleting) else { return Plan::nothing() };
        let secret: Value = stored.parse().unwrap_or_default();
        if secret["type"] != TYPE {
            return Plan::nothing();
        }
        let annotation = |name: &str| secret["metadata"]["annotations"][name].as_str().unwrap_or_default().to_owned();
        let (name, uid) = (annotation(NAME), annotation(UID));
        let account = snapshot.get(&view::key("serviceaccounts", &key.namespace, &name));
        let account = account.filter(|a| uid.is_empty() || *uid == *a.meta.uid);
        let (write, why) = match account {
            None => {
                let (key, uid) = (key.clone(), stored.meta.uid.to_string());
                let write = PlannedWrite::Delete { key, uid, grace_seconds: None, propagation: None, event: None };
                (write, format!("service account {name} is gone: delete its token"))
            }
            Some(account) => {
                let account = Reference { name, uid: account.meta.uid.to_string() };
                let Some(object) = self.filled(&key.namespace, secret, &account) else { return Plan::nothing() };
                let (key, revision) = (key.clone(), stored.revision);
                let why = format!("{} needs a token of {}", key.name, account.name);
                (PlannedWrite::Update { key, revision, subresource: "", object }, why)
            }
        };
        Plan { writes: vec![write], why, ..Plan::nothing() }
    }
}
