//! What controllers keep for authentication, authorization and quotas.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::aggregation::Aggregation;
use super::cleaners::{ExpiredTokens, OldRequests};
use super::protection::Protection;
use super::quota::Quotas;
use super::signing::{ClientAuthority, Signing};
use super::testing::World;
use super::token_secret::TokenSecrets;
use crate::auth::jwt::tests::signer;
use crate::reconcile::view::key;
use crate::registry::Registry;

#[test]
fn an_aggregated_role_follows_its_parts() {
    let mut world = World::of(
        r#"
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all},
 aggregationRule: {clusterRoleSelectors: [{matchLabels: {part: "true"}}]}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: one, labels: {part: "true"}},
 rules: [{verbs: [get], apiGroups: [""], resources: [pods]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: other},
 rules: [{verbs: [delete], apiGroups: [""], resources: [pods]}]}
"#,
    );
    let all = key("clusterroles.rbac.authorization.k8s.io", "", "all");
    let one = key("clusterroles.rbac.authorization.k8s.io", "", "one");
    let rules = |world: &World| world.get(&all).unwrap()["rules"].clone();
    world.settle(&Aggregation, &all);
    assert_eq!(rules(&world), json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    world.edit(&one, |role| role["rules"][0]["verbs"] = json!(["list"]));
    world.settle(&Aggregation, &all);
    assert_eq!(rules(&world)[0]["verbs"], json!(["list"]));
    world.remove(&one);
    world.settle(&Aggregation, &all);
    assert_eq!(rules(&world), json!([]));
}

#[test]
fn a_token_secret_is_filled_and_goes_with_its_account() {
    let mut world = World::of(
        r#"
{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}
---
{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token,
 metadata: {name: key, annotations: {kubernetes.io/service-account.name: robot}}}
---
{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: plain}}
"#,
    );
    let signer = Arc::new(signer());
    let controller = TokenSecrets::new(Arc::clone(&signer), "CA");
    let (secret, plain) = (key("secrets", "default", "key"), key("secrets", "default", "plain"));
    world.settle(&controller, &secret);
    let filled = world.get(&secret).unwrap();
    let token = String::from_utf8(STANDARD.decode(filled["data"]["token"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(signer.verify(&token).unwrap()["sub"], "system:serviceaccount:default:robot");
    assert_eq!(filled["metadata"]["annotations"]["kubernetes.io/service-account.uid"], "uid-robot");
    assert_eq!((&filled["data"]["ca.crt"], &filled["data"]["namespace"]), (&json!("Q0E="), &json!("ZGVmYXVsdA==")));
    assert_eq!(world.step(&controller, &plain), "");
    world.remove(&key("serviceaccounts", "default", "robot"));
    world.settle(&controller, &secret);
    assert_eq!(world.get(&secret), None);
}

#[test]
fn a_quota_shows_what_is_used() {
    let mut world = World::of(
        r#"
{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {pods: "3", requests.memory: 1Gi, count/secrets: "5"}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, resources: {requests: {memory: 64Mi}}}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: ended}, spec: {containers: [{name: c, resources: {requests: {memory: 64Mi}}}]}, status: {phase: Succeeded}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: other}}
"#,
    );
    let (quota, controller) = (key("resourcequotas", "default", "q"), Quotas::new(&Arc::new(Registry::builtin())));
    world.settle(&controller, &quota);
    let status = world.get(&quota).unwrap()["status"].clone();
    assert_eq!(status["used"], json!({"pods": "1", "requests.memory": "64Mi", "count/secrets": "1"}));
    assert_eq!(status["hard"], json!({"pods": "3", "requests.memory": "1Gi", "count/secrets": "5"}));
}

/// Signs what begins with `good`.
#[derive(Debug)]
struct Authority;

impl ClientAuthority for Authority {
    fn sign(&self, request_pem: &[u8], seconds: i64, _now: Timestamp) -> Result<String, String> {
        if request_pem.starts_with(b"good") { Ok(format!("for {seconds} s")) } else { Err("it is bad".into()) }
    }
}

#[test]
fn approved_requests_for_clients_are_signed() {
    let client = "kubernetes.io/kube-apiserver-client";
    for (signer, request, usage, condition, expected) in [
        (client, "good", "client auth", "Approved", json!({"certificate": STANDARD.encode("for 3600 s")})),
        (client, "good", "client auth", "Denied", json!({})),
        (client, "good", "client auth", "", json!({})),
        ("example.com/other", "good", "client auth", "Approved", json!({})),
        (client, "bad", "client auth", "Approved", json!({"failed": "it is bad"})),
        (
            client,
            "good",
            "server auth",
            "Approved",
            json!({"failed": "usages did not match allowed usages: client auth, digital signature, key encipherment"}),
        ),
    ] {
        let mut world = World::new();
        let conditions = if condition.is_empty() { json!([]) } else { json!([{"type": condition, "status": "True"}]) };
        let spec = json!({"signerName": signer, "request": STANDARD.encode(request), "usages": [usage], "expirationSeconds": 3600});
        let key = world.put(json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"},
            "spec": spec, "status": {"conditions": conditions},
        }));
        world.settle(&Signing::new(Arc::new(Authority)), &key);
        let status = world.get(&key).unwrap()["status"].clone();
        let failed = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Failed");
        let mut shown =
            json!({"certificate": status["certificate"], "failed": failed.map(|c: &Value| c["message"].clone())});
        shown.as_object_mut().unwrap().retain(|_, v| !v.is_null());
        assert_eq!(shown, expected, "{signer} {request} {usage} {condition}");
    }
}

#[test]
fn old_requests_for_certificates_go() {
    let made = "2026-01-01T10:00:00Z";
    let certificate = STANDARD.encode("a certificate");
    let condition = |kind: &str| json!([{"type": kind, "status": "True", "lastUpdateTime": made}]);
    // Hours after which it is gone; none for what stays.
    for (case, status, hours) in [
        ("nobody has decided", json!({}), Some(24)),
        ("denied", json!({"conditions": condition("Denied")}), Some(1)),
        ("failed", json!({"conditions": condition("Failed")}), Some(1)),
        ("signed", json!({"conditions": condition("Approved"), "certificate": certificate}), Some(1)),
        ("its signer has not come yet", json!({"conditions": condition("Approved")}), None),
    ] {
        let mut world = World::new();
        let key = world.put(json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": "r", "creationTimestamp": made}, "spec": {}, "status": status,
        }));
        world.wait(hours.unwrap_or(1000) * 3600 - 1);
        assert_eq!(world.step(&OldRequests, &key), "", "{case}");
        world.wait(1);
        world.settle(&OldRequests, &key);
        assert_eq!(world.get(&key).is_none(), hours.is_some(), "{case}");
    }
}

#[test]
fn a_request_goes_with_its_certificate() {
    let mut params = rcgen::CertificateParams::default();
    // Half past ten.
    params.not_after = rcgen::date_time_ymd(2026, 1, 1) + std::time::Duration::from_secs(37_800);
    let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    let mut world = World::new();
    let conditions = json!([{"type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T10:00:00Z"}]);
    let key = world.put(json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"},
        "spec": {}, "status": {"conditions": conditions, "certificate": STANDARD.encode(certificate)},
    }));
    let plan = world.plan(&OldRequests, &key);
    assert_eq!(plan.requeue_at, Some("2026-01-01T10:30:00Z".parse().unwrap()));
    world.wait(1800);
    world.settle(&OldRequests, &key);
    assert_eq!(world.get(&key), None);
}

#[test]
fn bootstrap_tokens_go_when_they_expire() {
    for (name, kind, expiration, seconds) in [
        ("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", "2026-01-01T10:01:00Z", Some(60)),
        ("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", "soon", Some(0)),
        ("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token", "", None),
        ("bootstrap-token-abcdef", "Opaque", "2026-01-01T10:01:00Z", None),
    ] {
        let mut world = World::new();
        let key = world.put(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "kube-system", "name": name}, "type": kind,
            "data": {"expiration": STANDARD.encode(expiration)},
        }));
        for second in 0..seconds.unwrap_or(100) {
            assert_eq!(world.step(&ExpiredTokens, &key), "", "{expiration} after {second} s");
            world.wait(1);
        }
        world.settle(&ExpiredTokens, &key);
        assert_eq!(world.get(&key).is_none(), seconds.is_some(), "{kind} {expiration}");
    }
}

#[test]
fn claims_and_volumes_in_use_are_kept() {
    let claim = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, finalizers: [kubernetes.io/pvc-protection]}, spec: {}}";
    let pod = |node: &str, volume: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: web}}, spec: {{nodeName: {node}, volumes: [{volume}]}}}}"
        )
    };
    let uses = "{name: v, persistentVolumeClaim: {claimName: data}}";
    for (case, pod, kept) in [
        ("a pod uses it", pod("edge", uses), true),
        ("a pod without a node", pod("''", uses), false),
        ("a pod with another", pod("edge", "{name: v, persistentVolumeClaim: {claimName: other}}"), false),
        ("a pod of that name that did not make it", pod("edge", "{name: data, ephemeral: {}}"), false),
    ] {
        let mut world = World::of(&format!("{claim}\n---\n{pod}"));
        let key = key("persistentvolumeclaims", "default", "data");
        assert_eq!(world.step(&Protection, &key), "", "{case}");
        world.delete(&key);
        world.settle(&Protection, &key);
        let rest = world.get(&key).map(|c| c["metadata"]["finalizers"].clone());
        assert_eq!(rest.is_some_and(|f| f == json!(["kubernetes.io/pvc-protection"])), kept, "{case}");
    }
    for (phase, kept) in [("Bound", true), ("Released", false)] {
        let mut world = World::of(&format!(
            "{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: disk}}, spec: {{}}, status: {{phase: {phase}}}}}"
        ));
        let key = key("persistentvolumes", "", "disk");
        world.settle(&Protection, &key);
        assert_eq!(world.get(&key).unwrap()["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
        world.delete(&key);
        world.settle(&Protection, &key);
        assert_eq!(world.get(&key).is_some_and(|v| !v["metadata"]["finalizers"].is_null()), kept, "{phase}");
    }
}
