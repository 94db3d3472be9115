//! Server-side apply and the record of field managers, over the real table of kinds.

use serde_json::{Value, json};

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
const CURL: (&str, &str) = ("user-agent", "curl/8.0 (linux)");
const MAP: &str = "/api/v1/namespaces/default/configmaps/c";
const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

async fn api() -> Api {
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}, "status": {"phase": "Active"}});
    Api::over(Registry::builtin(), &[("namespaces", namespace)]).await
}

impl Api {
    async fn apply(&self, url: &str, query: &str, config: &Value) -> Answer {
        self.send("PATCH", &format!("{url}?fieldManager={query}"), &[APPLY], config.to_string()).await
    }
}

#[tokio::test]
async fn who_may_patch_only_creates_nothing() {
    let roles = "clusterroles.rbac.authorization.k8s.io";
    let rules = json!([{"verbs": ["patch", "update"], "apiGroups": ["", "coordination.k8s.io"], "resources": ["*"]}]);
    let binding = json!({
        "metadata": {"name": "change"},
        "roleRef": {"kind": "ClusterRole", "name": "change"},
        "subjects": [{"kind": "User", "name": "bob"}],
    });
    let api = Api::over(
        Registry::builtin(),
        &[
            ("namespaces", json!({"metadata": {"name": "default"}, "status": {"phase": "Active"}})),
            ("configmaps", json!({"metadata": {"namespace": "default", "name": "c"}})),
            (roles, json!({"metadata": {"name": "change"}, "rules": rules})),
            ("clusterrolebindings.rbac.authorization.k8s.io", binding),
        ],
    )
    .await;
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let named = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}});
    let fresh = format!("{}new", MAP.trim_end_matches('c'));
    for (method, url, kind, body, code) in [
        ("PATCH", MAP, APPLY, named("c"), 200),
        ("PATCH", fresh.as_str(), APPLY, named("new"), 403),
        ("PUT", LEASE, JSON, lease, 403),
    ] {
        let url = format!("{url}?fieldManager=m");
        let answer = api.send(method, &url, &[kind, ("impersonate-user", "bob")], body.to_string()).await;
        assert_eq!(answer.code, code, "{method} {url}: {}", answer.text);
    }
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

fn web(replicas: Option<i64>) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template});
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.into();
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

/// The managers of an object: name, operation, subresource.
fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|e| ["manager", "operation", "subresource"].map(|f| text(e, f)).join(" ")).collect()
}

#[tokio::test]
async fn configurations_that_do_not_fit_are_told_as_kubernetes_tells_them() {
    let api = api().await;
    let changed = |pointer: &str, value: Value| {
        let mut config = web(None);
        *config.pointer_mut(pointer).expect("a field of the configuration") = value;
        config
    };
    let container = json!({"name": "web", "image": "i"});
    let ports = json!([{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]);
    const CONTAINERS: &str = "/spec/template/spec/containers";
    for (config, why) in [
        (changed("/spec/template", json!(5)), ".spec.template: expected map, got &{5}"),
        (changed("/metadata/name", json!("web")), ""),
        (
            changed("/spec/template/metadata/labels/app", json!(5)),
            ".spec.template.metadata.labels.app: expected string, got &value.valueUnstructured{Value:5}",
        ),
        (changed(CONTAINERS, json!({"a": "b"})), ".spec.template.spec.containers: expected list, got &{map[a:b]}"),
        (
            changed(CONTAINERS, json!([{"name": "web", "image": "i", "tty": "yes"}])),
            r#".spec.template.spec.containers[name="web"].tty: expected boolean, got &value.valueUnstructured{Value:"yes"}"#,
        ),
        (
            changed(
                CONTAINERS,
                json!([{"name": "web", "image": "i", "ports": [{"containerPort": 80, "hostPort": "x"}]}]),
            ),
            r#".spec.template.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"].hostPort: expected numeric (int or float), got string"#,
        ),
        (
            changed(CONTAINERS, json!([container, container])),
            r#".spec.template.spec.containers: duplicate entries for key [name="web"]"#,
        ),
        (
            changed(CONTAINERS, json!([{"name": "web", "image": "i", "ports": ports}])),
            r#".spec.template.spec.containers[name="web"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]"#,
        ),
    ] {
        let answer = api.apply(WEB, "me&dryRun=All", &config).await;
        let failed = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): ";
        let expected = if why.is_empty() { (201, Value::Null) } else { (400, json!(format!("{failed}{why}"))) };
        assert_eq!((answer.code, answer.json()["message"].clone()), expected);
    }
    let mut other = map(json!({}));
    other["metadata"]["uid"] = "x".into();
    let refused = api.apply(MAP, "me", &other).await;
    let message = "Operation cannot be fulfilled on configmaps \"c\": uid mismatch: the provided object specified uid x, and no existing object was found";
    assert_eq!((refused.code, &refused.json()["message"]), (409, &json!(message)));
}

#[tokio::test]
async fn a_configuration_creates_and_changes_and_a_second_time_does_nothing() {
    let api = api().await;
    let created = api.apply(MAP, "kubectl", &map(json!({"a": "1"}))).await;
    assert_eq!(created.code, 201, "{}", created.text);
    assert_eq!(managers(&created.json()), ["kubectl Apply "]);
    let again = api.apply(MAP, "kubectl", &map(json!({"a": "1"}))).await;
    assert_eq!((again.code, again.json()), (200, created.json()));
    // What is empty is not stored, and yet no change.
    let mut labelled = map(json!({"a": "1"}));
    labelled["metadata"]["finalizers"] = json!([]);
    let owned = api.apply(MAP, "kubectl", &labelled).await;
    assert_eq!(owned.json()["metadata"].get("finalizers"), None);
    let again = api.apply(MAP, "kubectl", &labelled).await;
    assert_eq!((again.code, again.json()), (200, owned.json()));
    let changed = api.apply(MAP, "kubectl", &map(json!({"b": "2"}))).await;
    assert_eq!((changed.code, &changed.json()["data"]), (200, &json!({"b": "2"})));
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  c: '3'\n";
    let other = api.send("PATCH", &format!("{MAP}?fieldManager=other"), &[APPLY], yaml).await;
    assert_eq!((other.code, &other.json()["data"]), (200, &json!({"b": "2", "c": "3"})), "{}", other.text);
}

#[tokio::test]
async fn defaults_belong_to_nobody_and_a_deployment_is_applied_twice_without_a_write() {
    let api = api().await;
    let created = api.apply(WEB, "kubectl", &web(Some(2))).await;
    assert_eq!((created.code, &created.json()["spec"]["revisionHistoryLimit"]), (201, &json!(10)), "{}", created.text);
    let fields = created.json()["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].clone();
    assert_eq!((fields.get("f:replicas"), fields.get("f:revisionHistoryLimit")), (Some(&json!({})), None));
    let again = api.apply(WEB, "kubectl", &web(Some(2))).await;
    assert_eq!(again.json()["metadata"]["resourceVersion"], created.json()["metadata"]["resourceVersion"]);
    assert_eq!(created.json()["metadata"]["generation"], 1);
}

#[tokio::test]
async fn conflicts_name_manager_and_field() {
    let api = api().await;
    api.apply(WEB, "kubectl", &web(Some(2))).await;
    let scaled = api.send("PATCH", &format!("{WEB}/scale"), &[MERGE, CURL], r#"{"spec":{"replicas":3}}"#).await;
    assert_eq!(scaled.code, 200, "{}", scaled.text);
    let refused = api.apply(WEB, "kubectl", &web(Some(2))).await;
    let message =
        r#"Apply failed with 1 conflict: conflict with "curl" with subresource "scale" using apps/v1: .spec.replicas"#;
    let status = refused.json();
    assert_eq!(
        (refused.code, &status["reason"], &status["message"], &status["details"]["causes"]),
        (
            409,
            &json!("Conflict"),
            &json!(message),
            &json!([{
                "reason": "FieldManagerConflict", "field": ".spec.replicas",
                "message": r#"conflict with "curl" with subresource "scale" using apps/v1"#,
            }])
        )
    );
    let forced = api.apply(WEB, "kubectl&force=true", &web(Some(2))).await;
    assert_eq!((forced.code, managers(&forced.json())), (200, vec!["kubectl Apply ".to_owned()]));
    // Giving the field up leaves it as it is, because the scaler owns it.
    api.send("PATCH", &format!("{WEB}/scale"), &[MERGE, CURL], r#"{"spec":{"replicas":3}}"#).await;
    let without = api.apply(WEB, "kubectl", &web(None)).await;
    assert_eq!((without.code, &without.json()["spec"]["replicas"]), (200, &json!(3)), "{}", without.text);
}

#[tokio::test]
async fn the_status_is_applied_on_its_own() {
    let api = api().await;
    let mut config = web(Some(1));
    config["status"] = json!({"replicas": 9});
    let created = api.apply(WEB, "kubectl", &config).await;
    assert_eq!(created.json()["status"]["replicas"], Value::Null);
    config["status"] = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]});
    config["spec"]["replicas"] = 7.into();
    let status = api.apply(&format!("{WEB}/status"), "controller", &config).await;
    assert_eq!(status.code, 200, "{}", status.text);
    assert_eq!((&status.json()["spec"]["replicas"], &status.json()["status"]["replicas"]), (&json!(1), &json!(1)));
    assert_eq!(managers(&status.json()), ["controller Apply status", "kubectl Apply "]);
    let missing = api
        .apply(&format!("{WEB}x/status"), "controller", &json!({"apiVersion": "apps/v1", "kind": "Deployment"}))
        .await;
    assert_eq!(missing.code, 404, "{}", missing.text);
}

#[tokio::test]
async fn a_scale_is_applied() {
    let api = api().await;
    api.apply(WEB, "kubectl", &web(None)).await;
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 4}});
    let scaled = api.apply(&format!("{WEB}/scale"), "scaler&force=true", &scale).await;
    assert_eq!(
        (scaled.code, &scaled.json()["kind"], &scaled.json()["spec"]["replicas"]),
        (200, &json!("Scale"), &json!(4)),
        "{}",
        scaled.text
    );
    assert!(managers(&api.get(WEB).await.json()).contains(&"scaler Apply scale".to_owned()));
}

#[tokio::test]
async fn a_dry_run_answers_without_a_write() {
    let api = api().await;
    let dry = api.apply(MAP, "kubectl&dryRun=All", &map(json!({"a": "1"}))).await;
    assert_eq!((dry.code, api.get(MAP).await.code), (201, 404));
    api.apply(MAP, "kubectl", &map(json!({"a": "1"}))).await;
    let dry = api.apply(MAP, "kubectl&dryRun=All", &map(json!({"a": "2"}))).await;
    assert_eq!((dry.code, &dry.json()["data"]["a"]), (200, &json!("2")));
    assert_eq!(api.get(MAP).await.json()["data"]["a"], "1");
}

#[tokio::test]
async fn preconditions_and_names_are_those_of_every_write() {
    let api = api().await;
    let mut config = map(json!({"a": "1"}));
    config["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(api.apply(MAP, "m", &config).await.code, 400);
    api.apply(MAP, "m", &map(json!({"a": "1"}))).await;
    assert_eq!(api.apply(MAP, "m", &config).await.code, 409);
    config["metadata"] = json!({"name": "other"});
    let refused = api.apply(MAP, "m", &config).await;
    let message = "the name of the object (other) does not match the name on the URL (c)";
    assert_eq!((refused.code, &refused.json()["message"]), (400, &json!(message)));
    let invalid = api.apply(WEB, "m", &web(Some(-1))).await;
    assert_eq!(invalid.code, 422, "{}", invalid.text);
}

#[tokio::test]
async fn a_configuration_must_fit_the_type() {
    let api = api().await;
    let fails = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    for (spec, problem) in [
        (json!({"contaners": []}), ".spec.contaners: field not declared in schema"),
        (
            json!({"containers": [{"image": "i"}]}),
            r#".spec.containers: element 0: associative list with keys has an element that omits key field "name" (and doesn't have default value)"#,
        ),
        (
            json!({"x": 1, "y": 1}),
            "errors:\n  .spec.x: field not declared in schema\n  .spec.y: field not declared in schema",
        ),
    ] {
        let refused = api.apply("/api/v1/namespaces/default/pods/p", "m", &fails(spec)).await;
        let message = format!("failed to create typed patch object (default/p; /v1, Kind=Pod): {problem}");
        assert_eq!((refused.code, &refused.json()["message"]), (400, &json!(message)));
    }
}

#[tokio::test]
async fn every_write_records_its_manager() {
    let api = api().await;
    let body = map(json!({"a": "1"}));
    let maps = "/api/v1/namespaces/default/configmaps";
    let created = api.send("POST", maps, &[JSON, CURL], body.to_string()).await.json();
    assert_eq!(managers(&created), ["curl Update "]);
    assert_eq!(created["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:data": {".": {}, "f:a": {}}}));
    let patched = api.send("PATCH", &format!("{MAP}?fieldManager=me"), &[MERGE], r#"{"data":{"b":"2"}}"#).await.json();
    assert_eq!(managers(&patched), ["curl Update ", "me Update "]);
    // A body without managers keeps them, and one that changes nothing writes nothing.
    let put = api.send("PUT", MAP, &[JSON], map(json!({"a": "1", "b": "2"})).to_string()).await.json();
    assert_eq!(put, patched);
    for reset in ["[{}]", "[]"] {
        let patch = format!(r#"[{{"op":"replace","path":"/metadata/managedFields","value":{reset}}}]"#);
        let cleared = api.send("PATCH", MAP, &[JSON_PATCH], patch).await.json();
        assert_eq!(cleared["metadata"].get("managedFields"), None, "{reset}");
        api.send("DELETE", MAP, &[], "").await;
        api.send("POST", maps, &[JSON, CURL], body.to_string()).await;
    }
    let patch = r#"[{"op":"replace","path":"/metadata/managedFields","value":[]}]"#;
    api.send("PATCH", MAP, &[JSON_PATCH], patch).await;
    let after = api.send("PATCH", MAP, &[MERGE], r#"{"data":{"b":"3"}}"#).await.json();
    assert_eq!(after["metadata"].get("managedFields"), None);
}

#[tokio::test]
async fn managers_are_moved_by_a_patch_as_kubectl_does() {
    let api = api().await;
    let maps = "/api/v1/namespaces/default/configmaps?fieldManager=kubectl-client-side-apply";
    api.send("POST", maps, &[JSON], map(json!({"a": "1"})).to_string()).await;
    let version = api.get(MAP).await.json()["metadata"]["resourceVersion"].clone();
    let mut list = api.get(MAP).await.json()["metadata"]["managedFields"].clone();
    list[0]["manager"] = "kubectl".into();
    list[0]["operation"] = "Apply".into();
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": list},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    ]);
    let moved = api.send("PATCH", MAP, &[JSON_PATCH], patch.to_string()).await;
    assert_eq!((moved.code, managers(&moved.json())), (200, vec!["kubectl Apply ".to_owned()]), "{}", moved.text);
    let applied = api.apply(MAP, "kubectl", &map(json!({"b": "1"}))).await;
    assert_eq!((applied.code, &applied.json()["data"]), (200, &json!({"b": "1"})));
}
