//! What updates, patches and deletions change, refuse and answer, as Kubernetes does.

use serde_json::{Value, json};

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const STRATEGIC: (&str, &str) = ("content-type", "application/strategic-merge-patch+json");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn api() -> Api {
    let object = |kind: &str, metadata: Value| json!({"kind": kind, "apiVersion": "v1", "metadata": metadata, "status": {"phase": "Active"}});
    let namespace = object("Namespace", json!({"name": "default"}));
    let account = object("ServiceAccount", json!({"name": "default", "namespace": "default"}));
    Api::over(Registry::builtin(), &[("namespaces", namespace), ("serviceaccounts", account)]).await
}

impl Api {
    async fn made(&self, collection: &str, kind: (&str, &str), metadata: Value, rest: Value) -> Value {
        let mut object = json!({"apiVersion": kind.0, "kind": kind.1, "metadata": metadata});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let created = self.send("POST", collection, &[JSON], object.to_string()).await;
        assert_eq!(created.code, 201, "{}", created.text);
        created.json()
    }

    async fn map(&self, name: &str, metadata: Value) -> Value {
        let mut metadata = metadata;
        metadata["name"] = name.into();
        self.made(MAPS, ("v1", "ConfigMap"), metadata, json!({"data": {"a": "1"}})).await
    }

    async fn web(&self) -> Value {
        let pod =
            json!({"tolerations": [{"key": "a", "operator": "Exists"}], "containers": [{"name": "c", "image": "i"}]});
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod});
        let spec = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
        self.made(DEPLOYMENTS, ("apps/v1", "Deployment"), json!({"name": "web"}), spec).await
    }
}

fn message(answer: &Answer) -> (u16, String) {
    (answer.code, answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_is_empty_is_no_change() {
    let api = api().await;
    let role = api
        .made(ROLES, ("rbac.authorization.k8s.io/v1", "Role"), json!({"name": "a", "labels": {}}), json!({"rules": []}))
        .await;
    assert_eq!((&role["rules"], &role["metadata"]["labels"]), (&Value::Null, &Value::Null));
    assert!(role.as_object().unwrap().contains_key("rules"));
    let limits = json!({"spec": {"limits": [{"type": "Container"}]}});
    const RANGES: &str = "/api/v1/namespaces/default/limitranges";
    let range = api.made(RANGES, ("v1", "LimitRange"), json!({"name": "a", "generation": 5}), limits).await;
    let put = api.send("PUT", &format!("{RANGES}/a"), &[JSON], range.to_string()).await;
    assert_eq!((put.code, put.json()), (200, range.clone()));
    assert_eq!(
        (&range["spec"]["limits"], &range["metadata"]["generation"]),
        (&json!([{"type": "Container"}]), &json!(5))
    );
    let made = api.web().await;
    let template = &made["spec"]["template"];
    assert_eq!(template["metadata"], json!({"creationTimestamp": null, "labels": {"a": "b"}}));
    let mut put = made.clone();
    put["spec"]["paused"] = false.into();
    put["spec"]["template"]["spec"]["hostNetwork"] = false.into();
    put["spec"]["template"]["spec"]["containers"][0]["env"] = json!([]);
    put["spec"]["template"]["spec"]["nodeSelector"] = json!({});
    let answer = api.send("PUT", &format!("{DEPLOYMENTS}/web"), &[JSON], put.to_string()).await;
    assert_eq!((answer.code, answer.json()), (200, made));
}

#[tokio::test]
async fn metadata_that_the_server_sets_is_kept_or_refused() {
    let api = api().await;
    let made = api.map("m", json!({})).await;
    let url = format!("{MAPS}/m");
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let invalid = |detail: &str| (422, format!("ConfigMap \"m\" is invalid: metadata.{detail}: field is immutable"));
    for (field, value, expected) in [
        ("generateName", json!("x"), (200, String::new())),
        ("generation", json!(7), (200, String::new())),
        ("creationTimestamp", json!("2020-01-01T00:00:00Z"), (200, String::new())),
        (
            "deletionTimestamp",
            json!("2020-01-01T00:00:00Z"),
            invalid("deletionTimestamp: Invalid value: 2020-01-01 00:00:00 +0000 UTC"),
        ),
        ("deletionGracePeriodSeconds", json!(5), invalid("deletionGracePeriodSeconds: Invalid value: 5")),
        (
            "uid",
            json!("x"),
            (
                409,
                format!(
                    "Operation cannot be fulfilled on configmaps \"m\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/default/m, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: x, UID in object meta: {uid}"
                ),
            ),
        ),
    ] {
        let mut put = made.clone();
        put["metadata"][field] = value;
        put["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let answer = api.send("PUT", &url, &[JSON], put.to_string()).await;
        assert_eq!(message(&answer), expected, "{field}");
    }
    let now = api.get(&url).await.json();
    assert_eq!(now["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"]);
    assert_eq!(now["metadata"]["generation"], Value::Null);
}

#[tokio::test]
async fn owners_count_once() {
    let api = api().await;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"});
    let body =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "ownerReferences": [owner, owner]}});
    let created = api.send("POST", MAPS, &[JSON], body.to_string()).await;
    assert_eq!(created.json()["metadata"]["ownerReferences"], json!([owner]));
    let warning = created.header("warning");
    assert!(warning.contains("duplicate UID(s) observed: u"), "{warning}");
}

#[tokio::test]
async fn a_scale_is_missing_under_its_own_name() {
    let api = api().await;
    let web = api.web().await;
    let uid = web["metadata"]["uid"].as_str().unwrap();
    let other = format!(
        "Operation cannot be fulfilled on deployments/scale.apps \"web\": Precondition failed: UID in precondition: x, UID in object meta: {uid}"
    );
    let patch = r#"{"metadata":{"uid":"x"}}"#;
    for (method, url, body, expected) in [
        ("GET", format!("{DEPLOYMENTS}/no/scale"), "", (404, r#"deployments/scale.apps "no" not found"#.to_owned())),
        (
            "GET",
            "/api/v1/namespaces/default/replicationcontrollers/no/scale".to_owned(),
            "",
            (404, r#"replicationcontrollers/scale.autoscaling "no" not found"#.to_owned()),
        ),
        (
            "GET",
            "/apis/apps/v1/namespaces/default/statefulsets/no/scale".to_owned(),
            "",
            (404, r#"statefulsets.apps "no" not found"#.to_owned()),
        ),
        ("PATCH", format!("{DEPLOYMENTS}/no/scale"), "{}", (404, r#"deployments.apps "no" not found"#.to_owned())),
        ("PATCH", format!("{DEPLOYMENTS}/web/scale"), patch, (409, other)),
    ] {
        assert_eq!(message(&api.send(method, &url, &[MERGE], body).await), expected, "{method} {url}");
    }
    let none = api.send("PATCH", &format!("{DEPLOYMENTS}/web/scale"), &[MERGE], r#"{"spec":{"replicas":0}}"#).await;
    assert_eq!((none.code, &none.json()["spec"]), (200, &json!({})));
}

#[tokio::test]
async fn strategic_patches_are_read_as_kubernetes_reads_them() {
    let api = api().await;
    api.web().await;
    let invalid = |patch: &str, why: &str| (422, format!(" \"\" is invalid: patch: Invalid value: \"{patch}\": {why}"));
    for (patch, expected) in [
        (json!({"spec": {"replicas": "x"}}), invalid("map[spec:map[replicas:x]]", "unrecognized type: int32")),
        (json!({"metadata": {"labels": 5}}), invalid("map[metadata:map[labels:5]]", "cannot restore map from int64")),
        (json!({"spec": {"replicas": 2.0}}), (200, String::new())),
        // A list that does not merge is replaced, with what its items say.
        (
            json!({"spec": {"template": {"spec": {"tolerations": [{"$patch": "delete", "key": "z", "operator": "Exists"}]}}}}),
            (200, String::new()),
        ),
    ] {
        let answer = api.send("PATCH", &format!("{DEPLOYMENTS}/web"), &[STRATEGIC], patch.to_string()).await;
        assert_eq!(message(&answer), expected, "{patch}");
    }
    let web = api.get(&format!("{DEPLOYMENTS}/web")).await.json();
    assert_eq!(web["spec"]["replicas"], 2);
    assert_eq!(web["spec"]["template"]["spec"]["tolerations"], json!([{"key": "z", "operator": "Exists"}]));
}

#[tokio::test]
async fn deletions_name_what_they_miss() {
    let api = api().await;
    let made = api.map("m", json!({})).await;
    let text = |field: &str| made["metadata"][field].as_str().unwrap();
    let (uid, revision) = (text("uid"), text("resourceVersion"));
    let conflict = |why: String| (409, format!("Operation cannot be fulfilled on ConfigMap \"m\": {why}"));
    for (preconditions, expected) in [
        (
            json!({"uid": "x", "resourceVersion": "1"}),
            conflict(format!(
                "the UID in the precondition (x) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            )),
        ),
        (
            json!({"resourceVersion": "99"}),
            conflict(format!(
                "the ResourceVersion in the precondition (99) does not match the ResourceVersion in record ({revision}). The object might have been modified"
            )),
        ),
        (json!({"uid": uid, "resourceVersion": revision}), (200, String::new())),
    ] {
        let body = json!({"preconditions": preconditions}).to_string();
        assert_eq!(message(&api.send("DELETE", &format!("{MAPS}/m"), &[JSON], body).await), expected);
    }
}

#[tokio::test]
async fn deletions_answer_with_what_they_made_of_the_object() {
    let api = api().await;
    // A pod that runs nowhere goes at once, and still says that it was deleted.
    let spec = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    api.made(PODS, ("v1", "Pod"), json!({"name": "p"}), spec).await;
    let pod = api.send("DELETE", &format!("{PODS}/p"), &[], "").await.json();
    assert_eq!(
        (&pod["metadata"]["deletionGracePeriodSeconds"], &pod["metadata"]["generation"]),
        (&json!(0), &json!(2))
    );
    assert!(pod["metadata"]["deletionTimestamp"].is_string());

    api.map("m", json!({"finalizers": ["a.b/c"]})).await;
    let url = format!("{MAPS}/m");
    let old_way = api.send("DELETE", &url, &[JSON], r#"{"orphanDependents":false}"#).await;
    assert_eq!((old_way.code, old_way.json()["kind"].as_str()), (202, Some("ConfigMap")));
    const EVENTS: &str = "/api/v1/namespaces/default/events";
    let about = json!({"involvedObject": {"namespace": "default"}});
    api.made(EVENTS, ("v1", "Event"), json!({"name": "e"}), about).await;
    api.send("DELETE", &format!("{EVENTS}/e?propagationPolicy=Foreground"), &[], "").await;
    assert_eq!(api.get(&format!("{EVENTS}/e")).await.code, 404);
    let freed = api.send("PATCH", &url, &[MERGE], r#"{"metadata":{"finalizers":null}}"#).await;
    assert_eq!((freed.code, freed.json()["metadata"].get("finalizers")), (200, None));
    assert_eq!(api.get(&url).await.code, 404);
}

#[tokio::test]
async fn a_deleted_page_tells_that_there_is_more() {
    let api = api().await;
    for name in ["m1", "m2"] {
        api.map(name, json!({})).await;
    }
    let page = api.send("DELETE", &format!("{MAPS}?limit=1"), &[], "").await.json();
    assert_eq!(names(&page), ["m1"]);
    assert!(page["metadata"]["continue"].is_string(), "{page}");
}
