//! GET and LIST: forms, selectors, pages, revisions.

use std::io::Read;

use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::registry::schema::{Schema, decode_protobuf};

const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
const METADATA: (&str, &str) = ("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");

async fn three() -> Api {
    Api::with(&[pod("a", "one"), pod("b", "two"), pod("b", "three")]).await
}

#[tokio::test]
async fn endpoints_are_advised_against() {
    let metadata = json!({"namespace": "a", "name": "web"});
    let endpoints = ("endpoints", json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": metadata}));
    let api = Api::over(Registry::builtin(), &[endpoints]).await;
    let warning = r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#;
    assert_eq!(api.get("/api/v1/namespaces/a/endpoints/web").await.header("warning"), warning);
    assert_eq!(api.get("/api/v1/endpoints").await.header("warning"), warning);
    assert_eq!(api.get("/api/v1/services").await.header("warning"), "");
}

#[tokio::test]
async fn get_answers_the_stored_bytes() {
    let api = three().await;
    let answer = api.get("/api/v1/namespaces/a/pods/one").await;
    let object = answer.json();
    assert_eq!(
        (answer.code, answer.header("content-type"), answer.header("cache-control")),
        (200, "application/json", "no-cache, private")
    );
    assert_eq!(answer.header("audit-id").len(), 36);
    assert_eq!((&object["metadata"]["name"], &object["metadata"]["resourceVersion"]), (&json!("one"), &json!("1")));
}

#[tokio::test]
async fn lists_are_scoped_and_selected() {
    let api = three().await;
    for (url, expected) in [
        ("/api/v1/pods", vec!["one", "three", "two"]),
        ("/api/v1/namespaces/b/pods", vec!["three", "two"]),
        ("/api/v1/namespaces/none/pods", vec![]),
        ("/api/v1/pods?labelSelector=app%3Dtwo", vec!["two"]),
        ("/api/v1/pods?labelSelector=app+notin+(two)", vec!["one", "three"]),
        ("/api/v1/pods?fieldSelector=metadata.name%3Done", vec!["one"]),
        ("/api/v1/pods?fieldSelector=spec.nodeName!%3Dedge-1", vec![]),
        ("/api/v1/pods?resourceVersion=0", vec!["one", "three", "two"]),
        ("/api/v1/pods?resourceVersion=3&resourceVersionMatch=Exact", vec!["one", "three", "two"]),
    ] {
        let list = api.get(url).await.json();
        assert_eq!(names(&list), expected, "{url}");
        assert_eq!(
            (&list["kind"], &list["apiVersion"], &list["metadata"]["resourceVersion"]),
            (&json!("PodList"), &json!("v1"), &json!("3"))
        );
    }
}

#[tokio::test]
async fn pages_show_one_state_whatever_happens_between() {
    let api = three().await;
    let first = api.get("/api/v1/pods?limit=1").await.json();
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["one"], &json!(2)));
    api.put("pods", pod("b", "another").1).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = api.get(&format!("/api/v1/pods?limit=1&continue={token}")).await.json();
    assert_eq!((names(&second), &second["metadata"]["resourceVersion"]), (vec!["three"], &json!("3")));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = api.get(&format!("/api/v1/pods?continue={token}")).await.json();
    assert_eq!((names(&last), last["metadata"].get("continue")), (vec!["two"], None));
}

#[tokio::test]
async fn a_list_at_an_exact_revision_shows_the_state_of_then() {
    let api = three().await;
    let mut changed = pod("a", "one").1;
    changed["metadata"]["labels"] = json!({"app": "new"});
    api.put("pods", changed).await;
    let list = |revision: u64| {
        let url = format!("/api/v1/pods?resourceVersion={revision}&resourceVersionMatch=Exact");
        let api = &api;
        async move { api.get(&url).await }
    };
    for (revision, expected) in [(1, vec!["one"]), (2, vec!["one", "two"]), (3, vec!["one", "three", "two"])] {
        let answer = list(revision).await.json();
        assert_eq!((names(&answer), &answer["metadata"]["resourceVersion"]), (expected, &json!(revision.to_string())));
        assert_eq!(answer["items"][0]["metadata"]["labels"]["app"], "one");
    }
    assert_eq!(list(4).await.json()["items"][0]["metadata"]["labels"]["app"], "new");
    // A page goes on at the revision of the first.
    let first = api.get("/api/v1/pods?limit=1&resourceVersion=2&resourceVersionMatch=Exact").await.json();
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    assert_eq!(names(&api.get(&format!("/api/v1/pods?continue={token}")).await.json()), ["two"]);
    api.store.compact(3).await.unwrap();
    let gone = list(1).await;
    let message = "The resourceVersion for the provided list is too old.";
    assert_eq!((gone.code, &gone.json()["message"]), (410, &json!(message)));
}

#[tokio::test]
async fn an_expired_page_brings_a_token_to_go_on() {
    let api = three().await;
    let token =
        super::super::pages::Continue::after(api.store.snapshot().list(&"pods".into(), None).next().unwrap(), 1)
            .encode();
    api.store.compact(2).await.unwrap();
    let gone = api.get(&format!("/api/v1/pods?limit=1&continue={token}")).await;
    let status = gone.json();
    assert_eq!((gone.code, &status["reason"]), (410, &json!("Expired")));
    let fresh = status["metadata"]["continue"].as_str().unwrap();
    let rest = api.get(&format!("/api/v1/pods?continue={fresh}")).await.json();
    assert_eq!(names(&rest), ["three", "two"]);
}

#[tokio::test]
async fn tables_have_columns_and_rows() {
    let api = three().await;
    let table = api.send("GET", "/api/v1/namespaces/a/pods", &[TABLE], "").await.json();
    assert_eq!(
        (&table["kind"], &table["apiVersion"], &table["metadata"]["resourceVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"), &json!("3"))
    );
    assert_eq!(
        table["columnDefinitions"][1],
        json!({"name": "Status", "type": "string", "format": "", "description": "the phase", "priority": 0})
    );
    assert_eq!(table["rows"][0]["cells"], json!(["one", "Running"]));
    assert_eq!(
        (&table["rows"][0]["object"]["kind"], table["rows"][0]["object"].get("spec")),
        (&json!("PartialObjectMetadata"), None)
    );
    let single = api.send("GET", "/api/v1/namespaces/a/pods/one?includeObject=Object", &[TABLE], "").await.json();
    assert_eq!(single["rows"][0]["object"]["spec"]["nodeName"], "edge-1");
}

#[tokio::test]
async fn kinds_without_columns_have_the_default_ones() {
    let api = Api::with(&[config_map("c", "x")]).await;
    let table = api.send("GET", "/api/v1/namespaces/default/configmaps", &[TABLE], "").await.json();
    assert_eq!(table["columnDefinitions"][1]["name"], "Created At");
    assert_eq!(table["rows"][0]["cells"], json!(["c", "2026-01-01T00:00:00Z"]));
}

#[tokio::test]
async fn metadata_and_yaml_answers() {
    let api = three().await;
    let list = api.send("GET", "/api/v1/namespaces/a/pods", &[METADATA], "").await.json();
    assert_eq!(
        (&list["kind"], &list["items"][0]["metadata"]["name"], list["items"][0].get("spec")),
        (&json!("PartialObjectMetadataList"), &json!("one"), None)
    );
    let yaml = api.send("GET", "/api/v1/namespaces/a/pods", &[("accept", "application/yaml")], "").await;
    let value: Value = serde_saphyr::from_str(&yaml.text).unwrap();
    assert_eq!((yaml.header("content-type"), names(&value)), ("application/yaml", vec!["one"]));
}

#[tokio::test]
async fn a_second_view_of_stored_objects_is_converted() {
    let api = Api::with(&[config_map("c", "x")]).await;
    let list = api.get("/apis/test.io/v1/notes").await.json();
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("NoteList"), &json!("Note")));
    assert_eq!(api.get("/apis/test.io/v1/namespaces/default/notes/c").await.json()["kind"], "Note");
}

#[tokio::test]
async fn large_lists_are_compressed_where_gzip_is_accepted() {
    let maps: Vec<_> = (0..40).map(|i| config_map(&format!("c{i:02}"), &"x".repeat(10_000))).collect();
    let api = Api::with(&maps).await;
    let plain = api.get("/api/v1/configmaps").await;
    assert_eq!((plain.header("content-encoding"), names(&plain.json()).len()), ("", 40));
    let response = api.open("GET", "/api/v1/configmaps", &[("accept-encoding", "gzip")], "").await;
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let packed = response.into_body().collect().await.unwrap().to_bytes();
    let mut text = String::new();
    GzDecoder::new(&*packed).read_to_string(&mut text).unwrap();
    assert!(packed.len() < plain.text.len() / 10);
    assert_eq!(text, plain.text);
}

#[tokio::test]
async fn a_scale_is_made_from_its_object() {
    let deployment = json!({"kind": "Deployment", "metadata": {"namespace": "a", "name": "web", "uid": "u"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}}, "status": {"replicas": 2}});
    let api = Api::with(&[("deployments.apps", deployment)]).await;
    let expected = json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"namespace": "a", "name": "web", "uid": "u", "resourceVersion": "1"},
        "spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "app=web"}});
    assert_eq!(api.get("/apis/apps/v1/namespaces/a/deployments/web/scale").await.json(), expected);
}

#[tokio::test]
async fn documents_carry_their_tag() {
    let api = three().await;
    let answer = api.get("/api").await;
    assert_eq!(
        (answer.code, answer.header("etag"), answer.text.as_str()),
        (200, "\"e1\"", r#"{"kind":"APIVersions"}"#)
    );
    assert_eq!(api.send("GET", "/api", &[("if-none-match", "\"e1\"")], "").await.code, 304);
    let keys = api.get("/openid/v1/jwks").await;
    assert_eq!(
        (keys.header("content-type"), keys.header("cache-control")),
        ("application/jwk-set+json", "public, max-age=3600")
    );
    assert_eq!(
        api.get("/").await.json()["paths"],
        json!([
            "/.well-known/openid-configuration",
            "/api",
            "/apis/",
            "/healthz",
            "/healthz/ping",
            "/livez",
            "/livez/ping",
            "/metrics",
            "/openapi/v3/",
            "/openid/v1/jwks",
            "/readyz",
            "/readyz/ping",
            "/readyz/store",
            "/version"
        ])
    );
}

#[tokio::test]
async fn protobuf_answers_hold_what_json_answers_hold() {
    let api = Api::over(Registry::builtin(), &[pod("a", "one"), pod("a", "two")]).await;
    let decoded = |answer: &Answer| {
        assert!(answer.header("content-type").starts_with("application/vnd.kubernetes.protobuf"));
        decode_protobuf(Schema::builtin(), &answer.body).unwrap()
    };
    const PROTOBUF: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf,application/json");
    const PARTIAL: (&str, &str) =
        ("accept", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    for url in ["/api/v1/namespaces/a/pods/one", "/api/v1/namespaces/a/pods/none", "/api/v1/pods?resourceVersion=x"] {
        let (binary, text) = (api.send("GET", url, &[PROTOBUF], "").await, api.get(url).await);
        assert_eq!((binary.code, decoded(&binary)), (text.code, text.json()), "{url}");
    }
    let list = decoded(&api.send("GET", "/api/v1/pods?limit=1", &[PROTOBUF], "").await);
    assert_eq!((names(&list), &list["metadata"]["remainingItemCount"]), (vec!["one"], &json!(1)));
    let one = decoded(&api.send("GET", "/api/v1/namespaces/a/pods/one", &[PARTIAL], "").await);
    assert_eq!(
        (&one["kind"], &one["metadata"]["uid"], one.get("spec")),
        (&json!("PartialObjectMetadata"), &json!("uid-one"), None)
    );
    let table = ("accept", "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(api.send("GET", "/api/v1/pods", &[table], "").await.code, 406);
}

#[tokio::test]
async fn protobuf_watches_send_frames_with_lengths() {
    let api = Api::over(Registry::builtin(), &[pod("a", "one")]).await;
    let accept = ("accept", "application/vnd.kubernetes.protobuf;stream=watch");
    let url = "/api/v1/pods?watch=1&timeoutSeconds=1";
    let response = api.open("GET", url, &[accept], "").await;
    assert_eq!(response.headers()["content-type"], accept.1);
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while bytes.len() < 4 || bytes.len() < 4 + u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize {
        bytes.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    let object = bytes.windows(4).position(|w| w == b"k8s\0").unwrap();
    assert_eq!(&bytes[4..11], b"\x0a\x05ADDED");
    let pod = decode_protobuf(Schema::builtin(), &bytes[object..]).unwrap();
    assert_eq!((&pod["kind"], &pod["metadata"]["name"]), (&json!("Pod"), &json!("one")));
}

#[tokio::test]
async fn head_is_for_paths_about_no_resource() {
    let api = three().await;
    let (whole, head) = (api.get("/").await, api.send("HEAD", "/", &[], "").await);
    assert_eq!((head.code, head.text.as_str(), head.header("content-type")), (200, "", "application/json"));
    assert_eq!(head.header("content-length"), whole.text.len().to_string());
    assert_eq!(api.send("HEAD", "/livez", &[], "").await.code, 200);
    for url in ["/api", "/api/v1/pods", "/api/v1/namespaces/a/pods/one", "/api/v1/namespaces/a/pods/none"] {
        let head = api.send("HEAD", url, &[], "").await;
        assert_eq!((head.code, head.text.as_str()), (405, ""), "{url}");
    }
}

#[tokio::test]
async fn a_scale_has_columns() {
    let deployment = json!({"kind": "Deployment", "metadata": {"namespace": "a", "name": "web", "uid": "u"},
        "spec": {"replicas": 3}, "status": {"replicas": 2}});
    let api = Api::with(&[("deployments.apps", deployment)]).await;
    let table = api.send("GET", "/apis/apps/v1/namespaces/a/deployments/web/scale", &[TABLE], "").await.json();
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!((&table["kind"], columns), (&json!("Table"), vec!["Name", "Desired", "Available", "Age"]));
    assert_eq!(table["rows"][0]["cells"], json!(["web", 3, 2, "<unknown>"]));
    assert_eq!(table["rows"][0]["object"]["metadata"]["uid"], "u");
}

#[tokio::test]
async fn rows_of_ended_pods_say_so() {
    let mut ended = pod("a", "one").1;
    ended["status"]["phase"] = "Succeeded".into();
    let api = Api::over(Registry::builtin(), &[("pods", ended), pod("a", "two")]).await;
    let table = api.send("GET", "/api/v1/pods", &[TABLE], "").await.json();
    let message = "The pod has completed successfully.";
    let completed = json!([{"type": "Completed", "status": "True", "reason": "Succeeded", "message": message}]);
    assert_eq!(table["rows"][0]["conditions"], completed);
    assert_eq!(table["rows"][1].get("conditions"), None);
}

#[tokio::test]
async fn an_event_is_encoded_once_for_all_who_want_it_alike() {
    let api = Api::over(Registry::builtin(), &[]).await;
    let accept = |text| [("accept", text)];
    let (protobuf, json) = (accept("application/vnd.kubernetes.protobuf;stream=watch"), accept("application/json"));
    let url = "/api/v1/pods?watch=1&resourceVersion=0";
    let mut bodies = Vec::new();
    for accept in [&protobuf, &protobuf, &json] {
        bodies.push(api.open("GET", url, accept, "").await.into_body());
    }
    api.put("pods", pod("a", "one").1).await;
    let mut objects = Vec::new();
    for body in &mut bodies {
        body.frame().await.unwrap().unwrap();
        objects.push(body.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    assert_eq!(objects[0].as_ptr(), objects[1].as_ptr());
    assert_ne!(objects[0], objects[2]);
}
