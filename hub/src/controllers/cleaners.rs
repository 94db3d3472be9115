//! Removes what nobody needs any more: old certificate signing requests and expired bootstrap tokens.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use x509_parser::pem::Pem;

use super::signing::REQUESTS;
use crate::reconcile::view::{self, later};
use crate::reconcile::{Controller, Plan, PlannedWrite};
use crate::store::{Event, Key, Object, Snapshot};

/// How long a request stays that has been signed, denied or given up, in seconds (Kubernetes' bounds).
const DECIDED_SECONDS: i64 = 3600;
/// How long a request stays that nobody has decided on.
const PENDING_SECONDS: i64 = 24 * 3600;

/// Removes certificate signing requests an hour after their end, or a day after they were made when nothing came of them.
#[derive(Debug)]
pub struct OldRequests;

impl Controller for OldRequests {
    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn keys(&self, event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        view::changed(event, REQUESTS)
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        view::all(snapshot, REQUESTS)
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let Some(stored) = snapshot.get(key) else { return Plan::nothing() };
        let request: Value = stored.parse().unwrap_or_default();
        expired(stored, end_of_request(&request), now)
    }
}

/// When a request is to go; `None` for one that waits for its signer.
fn end_of_request(request: &Value) -> Option<Timestamp> {
    let conditions = request["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    let certificate = request["status"]["certificate"].as_str().filter(|c| !c.is_empty());
    let after = |text: &Value, seconds| Some(later(text.as_str()?.parse().ok()?, seconds));
    if conditions.is_empty() {
        return after(&request["metadata"]["creationTimestamp"], PENDING_SECONDS);
    }
    let decided = conditions.iter().filter_map(|condition| {
        let over = match condition["type"].as_str()? {
            "Approved" => certificate.is_some(),
            "Denied" | "Failed" => true,
            _ => false,
        };
        after(&condition["lastUpdateTime"], DECIDED_SECONDS).filter(|_| over)
    });
    decided.chain(certificate.and_then(end_of_certificate)).min()
}

fn end_of_certificate(encoded: &str) -> Option<Timestamp> {
    let pem = STANDARD.decode(encoded).ok()?;
    let pem = Pem::iter_from_buffer(&pem).next()?.ok()?;
    Timestamp::from_second(pem.parse_x509().ok()?.validity().not_after.timestamp()).ok()
}

/// Removes bootstrap tokens when they expire.
#[derive(Debug)]
pub struct ExpiredTokens;

impl Controller for ExpiredTokens {
    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn keys(&self, event: &Event, _snapshot: &Snapshot) -> Vec<Key> {
        let key = &event.object.key;
        if is_token(key) { vec![key.clone()] } else { Vec::new() }
    }

    fn all(&self, snapshot: &Snapshot) -> Vec<Key> {
        let secrets = snapshot.list(&"secrets".into(), Some("kube-system"));
        secrets.map(|secret| secret.key.clone()).filter(is_token).collect()
    }

    fn reconcile(&self, key: &Key, snapshot: &Snapshot, now: Timestamp) -> Plan {
        let Some(stored) = snapshot.get(key) else { return Plan::nothing() };
        let secret: Value = stored.parse().unwrap_or_default();
        let text = STANDARD.decode(secret["data"]["expiration"].as_str().unwrap_or_default()).unwrap_or_default();
        let text = String::from_utf8(text).unwrap_or_default();
        if secret["type"] != "bootstrap.kubernetes.io/token" || text.is_empty() {
            return Plan::nothing();
        }
        // What is no time counts as over, as it does for authentication.
        expired(stored, Some(text.parse().unwrap_or(Timestamp::UNIX_EPOCH)), now)
    }
}

fn is_token(key: &Key) -> bool {
    &*key.resource == "secrets" && &*key.namespace == "kube-system" && key.name.starts_with("bootstrap-token-")
}

/// Removes an object whose time is over, or waits for it.
fn expired(object: &Object, end: Option<Timestamp>, now: Timestamp) -> Plan {
    let Some(end) = end.filter(|_| !object.meta.deleting) else { return Plan::nothing() };
    let mut plan = Plan::nothing();
    if end > now {
        plan.requeue(end);
        return plan;
    }
    plan.why = format!("the time of {} is over", object.key.name);
    plan.writes.push(PlannedWrite::Delete {
        key: object.key.clone(),
        uid: object.meta.uid.to_string(),
        grace_seconds: None,
        propagation: None,
        event: None,
    });
    plan
}
