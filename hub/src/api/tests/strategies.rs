//! What the strategies of kinds let writes do: create by PUT, pin a version, count generations, keep decisions.

use serde_json::{Value, json};

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

async fn api() -> Api {
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}, "status": {"phase": "Active"}});
    Api::over(Registry::builtin(), &[("namespaces", namespace)]).await
}

/// Code, and message or generation.
fn told(answer: &Answer) -> (u16, Value) {
    let body = answer.json();
    let told = if answer.code < 300 { &body["metadata"]["generation"] } else { &body["message"] };
    (answer.code, told.clone())
}

#[tokio::test]
async fn some_kinds_are_created_by_a_put_and_some_must_be_pinned() {
    let api = api().await;
    let role =
        json!({"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "a"}, "rules": []});
    let budget = json!({"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": "a"}, "spec": {"minAvailable": 1}});
    let missing = "poddisruptionbudgets.policy \"a\" not found";
    let unpinned = "poddisruptionbudgets.policy \"a\" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update";
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    for (method, url, body, expected) in [
        ("PUT", format!("{ROLES}/a"), &role, (201, Value::Null)),
        ("PUT", format!("{ROLES}/a"), &role, (200, Value::Null)),
        ("PUT", format!("{BUDGETS}/a"), &budget, (404, json!(missing))),
        ("POST", BUDGETS.to_owned(), &budget, (201, json!(1))),
        ("PUT", format!("{BUDGETS}/a"), &budget, (422, json!(unpinned))),
    ] {
        let answer = api.send(method, &url, &[JSON], body.to_string()).await;
        assert_eq!(told(&answer), expected, "{method} {url}");
    }
}

#[tokio::test]
async fn generations_count_what_the_strategy_counts() {
    let api = api().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    for (kind, plural, group, patches) in [
        (
            "Deployment",
            "deployments",
            "apps",
            &[
                ("", r#"{"metadata":{"annotations":{"a":"b"}}}"#, 2),
                ("/status", r#"{"metadata":{"annotations":{"a":"c"}}}"#, 2),
            ][..],
        ),
        (
            "DaemonSet",
            "daemonsets",
            "apps",
            &[("", r#"{"metadata":{"labels":{"a":"b"}}}"#, 1), ("", r#"{"spec":{"minReadySeconds":1}}"#, 2)],
        ),
    ] {
        let collection = format!("/apis/{group}/v1/namespaces/default/{plural}");
        let object =
            json!({"kind": kind, "apiVersion": format!("{group}/v1"), "metadata": {"name": "a"}, "spec": spec});
        let created = api.send("POST", &collection, &[JSON], object.to_string()).await;
        assert_eq!(told(&created), (201, json!(1)));
        for (subresource, patch, generation) in patches {
            let answer = api.send("PATCH", &format!("{collection}/a{subresource}"), &[MERGE], *patch).await;
            assert_eq!(told(&answer), (200, json!(generation)), "{kind} {patch}");
        }
    }
    let set = api.get("/apis/apps/v1/namespaces/default/daemonsets/a").await.json();
    assert_eq!(set["metadata"]["annotations"], json!({"deprecated.daemonset.template.generation": "1"}));
}

#[tokio::test]
async fn a_patch_of_the_uid_is_refused_and_an_empty_status_is_a_new_one() {
    let api = api().await;
    const URL: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": "a"}, "spec": {"minAvailable": 1}});
    assert_eq!(api.send("POST", URL, &[JSON], budget.to_string()).await.code, 201);
    let refused = api.send("PATCH", &format!("{URL}/a"), &[MERGE], r#"{"metadata":{"uid":"x"}}"#).await;
    let message = "PodDisruptionBudget.policy \"a\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable";
    assert_eq!(told(&refused), (422, json!(message)));
    let emptied = api.send("PATCH", &format!("{URL}/a/status"), &[MERGE], r#"{"status":null}"#).await;
    let counts = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    assert_eq!((emptied.code, &emptied.json()["status"]), (200, &counts));
}
