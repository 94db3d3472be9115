//! The real kubectl against a real hub without agents: evictions within disruption budgets, and the health of parts.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use skiff_tests::kubectl::table;
use skiff_tests::wait::ensure;
use skiff_tests::{Hub, Kubectl, wait_for};

/// Two pods on a node that nobody serves, of which one must stay.
const OBJECTS: &str = r#"
{apiVersion: v1, kind: Node, metadata: {name: edge}}
---
{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: keep}, spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: one, labels: {app: web}}, spec: {nodeName: edge, containers: [{name: c, image: i}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: two, labels: {app: web}}, spec: {nodeName: edge, containers: [{name: c, image: i}]}}
"#;

const HEALTHY: &str = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;

#[test]
fn drain_waits_for_the_budget_and_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &["--node-grace", "1h"]);
    let k = Kubectl::new(&hub.kubeconfig());
    k.with_input("create -f -", OBJECTS);
    for pod in ["one", "two"] {
        k.ok(&format!("patch pod {pod} --subresource=status --type=merge -p '{HEALTHY}'"));
    }
    let allows = |expected: &str| {
        wait_for(20, "the budget to be counted", || {
            let shown = k.ok("get pdb keep --no-headers");
            ensure(shown.split_whitespace().nth(3) == Some(expected), || shown.clone())
        });
    };
    allows("1");
    let mut drain = k.start("drain edge --force --grace-period=0 --timeout=60s");
    wait_for(30, "the budget to refuse", || {
        let said = drain.log();
        let refusal = "Cannot evict pod as it would violate the pod's disruption budget.";
        ensure(said.contains("will retry after 5s") && said.contains(refusal), || said.clone())
    });
    assert_eq!(k.ok("get pods --no-headers").lines().count(), 1, "one pod went, one stays");
    allows("0");
    k.ok(r#"patch pdb keep --type=merge -p '{"spec":{"minAvailable":0}}'"#);
    let ended = wait_for(30, "the drain to end", || drain.exited().ok_or_else(|| drain.log()));
    assert!(ended.success() && drain.log().contains("node/edge drained"), "{}", drain.log());
    assert_eq!(k.ok("get pods --no-headers"), "");
}

#[test]
fn component_statuses_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub"), &[]);
    let k = Kubectl::new(&hub.kubeconfig());
    let expected = [
        vec!["NAME", "STATUS", "MESSAGE", "ERROR"],
        vec!["scheduler", "Healthy", "ok"],
        vec!["controller-manager", "Healthy", "ok"],
        vec!["etcd-0", "Healthy", "ok"],
    ];
    assert_eq!(table(&k.ok("get cs")), expected);
    assert_eq!(k.ok("get componentstatuses etcd-0 -o name").trim(), "componentstatus/etcd-0");
}
