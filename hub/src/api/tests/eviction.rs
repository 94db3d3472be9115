//! `pods/eviction` as a client meets it.

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const URL: &str = "/api/v1/namespaces/a/pods/one/eviction";

fn budget(allowed: i64) -> (&'static str, Value) {
    let metadata = json!({"namespace": "a", "name": "b", "generation": 1});
    let status =
        json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2});
    let spec = json!({"minAvailable": 2, "selector": {"matchLabels": {"app": "one"}}});
    (
        "poddisruptionbudgets.policy",
        json!({"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": metadata, "spec": spec, "status": status}),
    )
}

async fn api(allowed: i64) -> Api {
    let mut pod = pod("a", "one");
    pod.1["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    Api::over(Registry::builtin(), &[pod, budget(allowed)]).await
}

fn eviction(name: &str, options: Value) -> Value {
    json!({"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": name}, "deleteOptions": options})
}

#[tokio::test]
async fn evictions_are_answered_as_kubernetes_answers() {
    let mut old = eviction("one", json!({"gracePeriodSeconds": 3}));
    old["apiVersion"] = "policy/v1beta1".into();
    let core = json!({"kind": "Eviction", "apiVersion": "v1", "metadata": {"name": "one"}});
    for (allowed, query, body, code, message) in [
        (1, "", eviction("one", json!({})), 201, ""),
        (1, "", old, 201, ""),
        (1, "?dryRun=All", eviction("one", json!(null)), 201, ""),
        (1, "", eviction("two", json!({})), 400, "name in URL does not match name in Eviction object"),
        (
            1,
            "",
            core,
            400,
            "Eviction in version \"v1\" cannot be handled as a Eviction: no kind \"Eviction\" is registered for version \"v1\" in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            1,
            "",
            eviction("one", json!({"propagationPolicy": "Sideways"})),
            422,
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: ",
        ),
        (
            1,
            "",
            eviction("one", json!({"preconditions": {"uid": "x"}})),
            409,
            "Operation cannot be fulfilled on Pod \"one\": the UID in the precondition (x) does not match the UID in record (uid-one)",
        ),
        (0, "", eviction("one", json!({})), 429, "Cannot evict pod as it would violate the pod's disruption budget."),
    ] {
        let answer = api(allowed).await.send("POST", &format!("{URL}{query}"), &[JSON], body.to_string()).await;
        let said = answer.json();
        assert_eq!((answer.code, &said["code"]), (code, &json!(code)), "{body}: {}", answer.text);
        assert!(said["message"].as_str().unwrap_or_default().starts_with(message), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_refusal_names_the_budget_and_no_time() {
    let answer = api(0).await.send("POST", URL, &[JSON], eviction("one", json!({})).to_string()).await;
    let cause = json!({"reason": "DisruptionBudget", "message": "The disruption budget b needs 2 healthy pods and has 2 currently"});
    assert_eq!(answer.json()["details"], json!({"causes": [cause]}));
    assert_eq!((answer.header("retry-after"), &answer.json()["reason"]), ("", &json!("TooManyRequests")));
}

#[tokio::test]
async fn two_budgets_are_a_failure_without_a_reason() {
    let api = api(1).await;
    let (resource, mut second) = budget(1);
    second["metadata"]["name"] = "c".into();
    api.put(resource, second).await;
    let answer = api.send("POST", URL, &[JSON], eviction("one", json!({})).to_string()).await;
    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    let expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": 500});
    assert_eq!((answer.code, answer.json()), (500, expected));
}
