//! Writes over the real table of kinds: codes, answers, warnings.

use serde_json::{Value, json};

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const STRATEGIC: (&str, &str) = ("content-type", "application/strategic-merge-patch+json");
const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn api() -> Api {
    let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}, "status": {"phase": "Active"}});
    let account =
        json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"namespace": "default", "name": "default"}});
    Api::over(Registry::builtin(), &[("namespaces", namespace), ("serviceaccounts", account)]).await
}

fn map(name: &str) -> String {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": {"app": "x"}}, "data": {"a": "1"}}).to_string()
}

fn deployment(replicas: i64) -> String {
    let template =
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"}, "spec": spec}).to_string()
}

#[tokio::test]
async fn an_object_is_created_changed_and_deleted() {
    let api = api().await;
    let created = api.send("POST", MAPS, &[JSON], map("c")).await;
    assert_eq!((created.code, &created.json()["metadata"]["name"]), (201, &json!("c")), "{}", created.text);
    let again = api.send("POST", MAPS, &[JSON], map("c")).await;
    assert_eq!((again.code, &again.json()["message"]), (409, &json!("configmaps \"c\" already exists")));
    let url = format!("{MAPS}/c");
    let patched = api.send("PATCH", &url, &[MERGE], r#"{"data":{"b":"2"}}"#).await;
    assert_eq!((patched.code, &patched.json()["data"]), (200, &json!({"a": "1", "b": "2"})));
    let stale = api.send("PUT", &url, &[JSON], created.text).await;
    let conflict = "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again";
    assert_eq!((stale.code, &stale.json()["message"]), (409, &json!(conflict)));
    let replaced = api.send("PUT", &url, &[JSON], map("c")).await;
    assert_eq!((replaced.code, &replaced.json()["data"]), (200, &json!({"a": "1"})));
    let deleted = api.send("DELETE", &url, &[], "").await.json();
    let uid = &patched.json()["metadata"]["uid"];
    let details = json!({"name": "c", "kind": "configmaps", "uid": uid});
    assert_eq!(
        (&deleted["kind"], &deleted["status"], &deleted["details"]),
        (&json!("Status"), &json!("Success"), &details)
    );
    assert_eq!(api.get(&url).await.code, 404);
}

#[tokio::test]
async fn yaml_is_taken_as_kubectl_raw_sends_it() {
    let body = "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: doc\ndata:\n  a: '1'\n";
    let created = api().await.send("POST", MAPS, &[("content-type", "application/yaml; charset=utf-8")], body).await;
    assert_eq!((created.code, &created.json()["data"]), (201, &json!({"a": "1"})), "{}", created.text);
}

#[tokio::test]
async fn unknown_and_double_fields_are_judged_by_field_validation() {
    let body =
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"},"dato":{},"data":{"a":"1"},"data":{"a":"2"}}"#;
    let api = api().await;
    let warned = api.send("POST", &format!("{MAPS}?dryRun=All"), &[JSON], body).await;
    let warnings: Vec<_> = warned.response.headers().get_all("warning").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(
        (warned.code, warnings),
        (201, vec![r#"299 - "unknown field \"dato\"""#, r#"299 - "duplicate field \"data\"""#])
    );
    let ignored = api.send("POST", &format!("{MAPS}?dryRun=All&fieldValidation=Ignore"), &[JSON], body).await;
    assert_eq!((ignored.code, ignored.header("warning")), (201, ""));
    let refused = api.send("POST", &format!("{MAPS}?fieldValidation=Strict"), &[JSON], body).await;
    let message = r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dato", duplicate field "data""#;
    assert_eq!((refused.code, &refused.json()["message"]), (400, &json!(message)));
    assert_eq!(api.get(&format!("{MAPS}/c")).await.code, 404);
}

#[tokio::test]
async fn fields_of_patches_are_judged_with_the_patch() {
    let api = api().await;
    let created = api.send("POST", MAPS, &[JSON], r#"{"metadata":{"name":"c"},"data":{"a":"1"}}"#).await;
    assert_eq!(created.code, 201);
    let url = format!("{MAPS}/c?fieldValidation=Strict");
    let twice = r#"{"dato":1,"data":{"a":"2","a":"3"}}"#;
    let strict = r#"strict decoding error: duplicate field "data.a", unknown field "dato""#;
    let operations = r#"[{"op":"add","path":"/data/b","path":"/data/c","value":"1","foo":1}]"#;
    let of_operations =
        r#"strict decoding error: json patch unknown field "[0].foo", json patch duplicate field "[0].path""#;
    let wrong = r#"{"data":{"a":1}}"#;
    let of_type = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string";
    for (kind, patch, shown, detail) in [
        (MERGE, twice, "{\\\"", strict),
        (STRATEGIC, twice, "map[data:map[a:3] dato:1]", strict),
        (JSON_PATCH, operations, "{\\\"", of_operations),
        (STRATEGIC, wrong, "map[data:map[a:1]]", "cannot convert int64 to string"),
        (MERGE, wrong, "{\\\"", of_type),
    ] {
        let refused = api.send("PATCH", &url, &[kind], patch).await;
        let status = refused.json();
        let message = status["message"].as_str().unwrap();
        let start = format!(" \"\" is invalid: patch: Invalid value: \"{shown}");
        assert!(refused.code == 422 && message.starts_with(&start) && message.ends_with(detail), "{kind:?} {message}");
    }
    let warned = api.send("PATCH", &format!("{MAPS}/c"), &[MERGE], twice).await;
    assert_eq!((warned.code, &warned.json()["data"]), (200, &json!({"a": "3"})));
}

#[tokio::test]
async fn reviews_are_no_tables() {
    let body = r#"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}"#;
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let refused = api().await.send("POST", url, &[JSON, table], body).await;
    assert_eq!((refused.code, &refused.json()["reason"]), (406, &json!("NotAcceptable")));
}

#[tokio::test]
async fn invalid_objects_name_their_fields() {
    let refused = api().await.send("POST", DEPLOYMENTS, &[JSON], deployment(-1)).await;
    let status = refused.json();
    let message =
        r#"Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"#;
    assert_eq!((refused.code, &status["message"]), (422, &json!(message)));
    assert_eq!(status["details"]["causes"][0]["field"], "spec.replicas");
}

#[tokio::test]
async fn a_scale_is_read_and_written() {
    let api = api().await;
    assert_eq!(api.send("POST", DEPLOYMENTS, &[JSON], deployment(1)).await.code, 201);
    let url = format!("{DEPLOYMENTS}/web/scale");
    let scaled = api.send("PATCH", &url, &[MERGE], r#"{"spec":{"replicas":3}}"#).await;
    let scale = scaled.json();
    assert_eq!((scaled.code, &scale["kind"], &scale["spec"]["replicas"]), (200, &json!("Scale"), &json!(3)));
    assert_eq!(scale["status"]["selector"], "app=web");
    let put = api.send("PUT", &url, &[JSON], scale.to_string().replace("\"replicas\":3", "\"replicas\":2")).await;
    assert_eq!((put.code, &put.json()["spec"]["replicas"]), (200, &json!(2)), "{}", put.text);
    assert_eq!(api.get(&format!("{DEPLOYMENTS}/web")).await.json()["spec"]["replicas"], 2);
    assert_eq!(api.send("DELETE", &url, &[], "").await.code, 405);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector_and_lists_what_went() {
    let api = api().await;
    for name in ["a", "b", "keep"] {
        api.send("POST", MAPS, &[JSON], map(name)).await;
    }
    api.send("PATCH", &format!("{MAPS}/keep"), &[MERGE], r#"{"metadata":{"labels":{"app":"y"}}}"#).await;
    let deleted = api.send("DELETE", &format!("{MAPS}?labelSelector=app%3Dx"), &[], "").await;
    assert_eq!((deleted.code, names(&deleted.json())), (200, vec!["a", "b"]));
    assert_eq!(names(&api.get(MAPS).await.json()), ["keep"]);
}

#[tokio::test]
async fn what_a_deletion_answers_with_is_up_to_the_kind() {
    let api = api().await;
    let classes = "/apis/storage.k8s.io/v1/storageclasses";
    let class = json!({"kind": "StorageClass", "apiVersion": "storage.k8s.io/v1", "metadata": {"name": "x"}, "provisioner": "example.com/x"});
    for (collection, body, expected) in [(MAPS, map("x"), "Status"), (classes, class.to_string(), "StorageClass")] {
        let created = api.send("POST", collection, &[JSON], body).await;
        assert_eq!(created.code, 201, "{}", created.text);
        let deleted = api.send("DELETE", &format!("{collection}/x"), &[], "").await;
        assert_eq!((deleted.code, &deleted.json()["kind"]), (200, &json!(expected)), "{}", deleted.text);
    }
}

#[tokio::test]
async fn a_marked_object_comes_back_as_it_is() {
    let api = api().await;
    let body =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "f", "finalizers": ["test.io/hold"]}});
    api.send("POST", MAPS, &[JSON], body.to_string()).await;
    let marked =
        api.send("DELETE", &format!("{MAPS}/f"), &[JSON], r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#).await;
    let object: Value = marked.json();
    assert_eq!(
        (marked.code, &object["kind"], object["metadata"]["deletionTimestamp"].is_string()),
        (200, &json!("ConfigMap"), true)
    );
}

#[tokio::test]
async fn a_binding_answers_success() {
    let api = api().await;
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    let created = api.send("POST", pods, &[JSON], pod.to_string()).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "edge-1"}});
    let bound = api.send("POST", &format!("{pods}/p/binding"), &[JSON], binding.to_string()).await;
    assert_eq!((bound.code, &bound.json()["status"]), (201, &json!("Success")), "{}", bound.text);
    assert_eq!(api.get(&format!("{pods}/p")).await.json()["spec"]["nodeName"], "edge-1");
}

/// Bodies, queries and patches, and how the refusal ends. Compared with kube-apiserver.
#[tokio::test]
async fn wrong_bodies_are_refused_in_kubernetes_words() {
    let api = api().await;
    assert_eq!(api.send("POST", MAPS, &[JSON], map("c")).await.code, 201);
    let one = &format!("{MAPS}/c");
    let scheme = "in scheme \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\"";
    let type_meta =
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    let nameless = "the name of the object (c based on URL) was undeterminable: name must be provided";
    for (method, url, header, body, code, end) in [
        ("POST", MAPS, JSON, r#"{"kind":"Foo"}"#, 400, format!("cannot be handled as a ConfigMap: no kind \"Foo\" is registered for version \"v1\" {scheme}")),
        ("POST", MAPS, JSON, r#"{"apiVersion":"v2"}"#, 400, format!("no kind \"ConfigMap\" is registered for version \"v2\" {scheme}")),
        ("POST", MAPS, JSON, r#"{"kind":"Secret","apiVersion":"v1"}"#, 400, "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion".to_owned()),
        ("POST", DEPLOYMENTS, JSON, r#"{"apiVersion":"apps/v1beta1","kind":"Deployment"}"#, 400, "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)".to_owned()),
        ("POST", DEPLOYMENTS, JSON, r#"{"apiVersion":"apps/v1","kind":"ReplicaSet"}"#, 400, "converting (v1.ReplicaSet) to (apps.Deployment): unknown conversion".to_owned()),
        ("POST", MAPS, JSON, "[]", 400, format!("json: cannot unmarshal array into Go value of type {type_meta} (5b5d)")),
        ("POST", MAPS, JSON, r#"{"kind":5}"#, 400, "json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\":5})".to_owned()),
        ("POST", MAPS, JSON, r#"{"metadata":{"name":"d","namespace":"other"}}"#, 400, "the namespace of the provided object does not match the namespace sent on the request".to_owned()),
        ("PUT", one, JSON, r#"{"metadata":{"name":"c","namespace":"other"}}"#, 400, "the namespace of the object (other) does not match the namespace on the request (default)".to_owned()),
        ("PUT", one, JSON, r#"{"metadata":{}}"#, 400, nameless.to_owned()),
        ("PUT", one, JSON, "null", 400, nameless.to_owned()),
        ("PATCH", one, MERGE, r#"{"metadata":null}"#, 400, nameless.to_owned()),
        ("PATCH", one, MERGE, r#"{"kind":"Secret"}"#, 422, "converting (v1.Secret) to (core.ConfigMap): unknown conversion".to_owned()),
        ("PATCH", one, MERGE, r#"{"metadata":{"uid":"x"}}"#, 422, "ConfigMap \"c\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable".to_owned()),
        ("PATCH", one, MERGE, "[]", 400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}".to_owned()),
        ("PATCH", one, MERGE, "", 400, "error decoding patch: unexpected end of JSON input".to_owned()),
        ("PATCH", one, STRATEGIC, "true", 400, "json: cannot unmarshal bool into Go value of type map[string]interface {}".to_owned()),
        ("PATCH", one, JSON_PATCH, "{}", 400, "error decoding patch: json: cannot unmarshal object into Go value of type []interface {}".to_owned()),
        ("PATCH", one, JSON_PATCH, r#"["x"]"#, 400, "json: cannot unmarshal string into Go value of type jsonpatch.Operation".to_owned()),
        ("PATCH", one, JSON_PATCH, r#"[{"op":"foo","path":"/a"}]"#, 422, "the server rejected our request due to an error in our request".to_owned()),
        ("DELETE", one, JSON, r#"{"kind":"ConfigMap","apiVersion":"v1"}"#, 400, "no kind \"ConfigMap\" is registered for version \"v1\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"".to_owned()),
        ("DELETE", one, JSON, r#"{"gracePeriodSeconds":"x"}"#, 400, "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64".to_owned()),
        ("DELETE", one, ("content-type", "application/json;x"), "{}", 415, "application/json, application/yaml, application/vnd.kubernetes.protobuf".to_owned()),
        ("DELETE", &format!("{one}?gracePeriodSeconds="), JSON, "", 400, "strconv.ParseInt: parsing \"\": invalid syntax".to_owned()),
        ("DELETE", &format!("{one}?propagationPolicy="), JSON, "", 422, "propagationPolicy: Unsupported value: \"\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"".to_owned()),
        ("GET", one, ("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), "", 406, "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)".to_owned()),
        ("GET", MAPS, ("accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), "", 406, "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)".to_owned()),
        ("GET", &format!("{MAPS}/.."), JSON, "", 400, "Name parameter invalid: \"..\": may not be '..'".to_owned()),
    ] {
        let refused = api.send(method, url, &[header], body).await;
        let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(refused.code == code && message.ends_with(&end), "{method} {url} {body}: {} {message}", refused.code);
    }
}

/// The manifest and the texts are those of Kubernetes' own test of field validation.
#[tokio::test]
async fn yaml_with_double_keys_is_told_by_line() {
    let body = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: dupename\n  name: web\n  labels: {app: web}\n  unknownMeta: v\n\
        spec:\n  unknown1: v\n  paused: true\n  paused: false\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n\
        \x20   spec:\n      containers:\n      - name: web\n        image: web:1\n        unknownNested: v\n";
    let api = api().await;
    let yaml = ("content-type", "application/yaml");
    let refused = api.send("POST", &format!("{DEPLOYMENTS}?fieldValidation=Strict"), &[yaml], body).await;
    let keys = "yaml: unmarshal errors:\n  line 5: key \"name\" already set in map\n  line 11: key \"paused\" already set in map";
    let unknown = r#"unknown field "metadata.unknownMeta", unknown field "spec.template.spec.containers[0].unknownNested", unknown field "spec.unknown1""#;
    let message = format!(
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: {keys}, {unknown}"
    );
    assert_eq!((refused.code, &refused.json()["message"]), (400, &json!(message)));
    let warned = api.send("POST", &format!("{DEPLOYMENTS}?dryRun=All"), &[yaml], body).await;
    let warnings: Vec<_> = warned.response.headers().get_all("warning").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(
        (warned.code, warnings.len(), warnings[0]),
        (201, 5, r#"299 - "line 5: key \"name\" already set in map""#)
    );
    let apply = ("content-type", "application/apply-patch+yaml");
    let double = "{\n\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\n\"data\": {\n\"a\": \"1\",\n\"a\": \"2\"}}";
    let url = format!("{MAPS}/applied?fieldManager=m");
    let refused = api.send("PATCH", &format!("{url}&fieldValidation=Strict"), &[apply], double).await;
    let message = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 5: key \"a\" already set in map";
    assert_eq!((refused.code, &refused.json()["message"]), (400, &json!(message)));
    let warned = api.send("PATCH", &url, &[apply], double).await;
    assert_eq!((warned.code, warned.header("warning")), (201, r#"299 - "line 5: key \"a\" already set in map""#));
}
