//! What is refused, and how.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::api::fairness::{Class, Holder};

async fn api() -> Api {
    Api::with(&[pod("a", "one")]).await
}

/// A request, and the code and beginning of the message of its refusal.
type Case = (&'static str, &'static str, (&'static str, &'static str), &'static str, u16, &'static str);

const JSON: (&str, &str) = ("content-type", "application/json");

async fn assert_refused(cases: &[Case]) {
    let api = api().await;
    for (method, url, header, body, code, message) in cases {
        let answer = api.send(method, url, &[*header], *body).await;
        let status = answer.json();
        let text = status["message"].as_str().unwrap();
        assert_eq!((answer.code, &status["kind"]), (*code, &json!("Status")), "{method} {url}: {text}");
        assert!(text.starts_with(message), "{method} {url}: {text}");
    }
}

#[tokio::test]
async fn missing_things_and_wrong_verbs_are_refused() {
    assert_refused(&[
        ("GET", "/api/v1/namespaces/a/pods/two", JSON, "", 404, r#"pods "two" not found"#),
        ("GET", "/apis/apps/v1/namespaces/a/deployments/web", JSON, "", 404, r#"deployments.apps "web" not found"#),
        (
            "GET",
            "/apis/apps/v1/namespaces/a/deployments/web/scale",
            JSON,
            "",
            404,
            r#"deployments/scale.apps "web" not found"#,
        ),
        ("GET", "/api/v1/namespaces/a/widgets", JSON, "", 404, "the server could not find the requested resource"),
        (
            "GET",
            "/api/v1/namespaces/a/pods/one/nothing",
            JSON,
            "",
            404,
            "the server could not find the requested resource",
        ),
        (
            "PUT",
            "/api/v1/namespaces/a/pods",
            JSON,
            "{}",
            405,
            "the server does not allow this method on the requested resource",
        ),
        ("POST", "/api/v1/pods", JSON, "{}", 405, "the server does not allow this method on the requested resource"),
        (
            "DELETE",
            "/api/v1/namespaces/a/pods/one/log",
            JSON,
            "",
            405,
            "the server does not allow this method on the requested resource",
        ),
    ])
    .await;
}

#[tokio::test]
async fn wrong_options_of_reads_are_refused() {
    assert_refused(&[
        ("GET", "/api/v1/pods?limit=many", JSON, "", 400, r#"strconv.ParseInt: parsing "many": invalid syntax"#),
        ("GET", "/api/v1/pods?fieldSelector=spec.x%3D1", JSON, "", 400, "field label not supported: spec.x"),
        (
            "GET",
            "/api/v1/configmaps?fieldSelector=data%3D1",
            JSON,
            "",
            400,
            r#""data" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        ),
        ("GET", "/api/v1/pods?continue=nonsense", JSON, "", 400, "invalid continue token: continue key is not valid: "),
        ("GET", "/api/v1/pods?labelSelector=a+b", JSON, "", 400, "unable to parse requirement: "),
        (
            "GET",
            "/api/v1/pods?resourceVersionMatch=Exact",
            JSON,
            "",
            422,
            r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: "#,
        ),
        (
            "GET",
            "/api/v1/pods",
            ("accept", "application/vnd.kubernetes.protobuf"),
            "",
            406,
            "only the following media types are accepted: application/json, application/yaml",
        ),
        (
            "GET",
            "/api/v1/pods",
            ("accept", "text/html"),
            "",
            406,
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        ),
        (
            "GET",
            "/api/v1/pods?resourceVersionMatch=Exact&limit=x",
            JSON,
            "",
            400,
            r#"strconv.ParseInt: parsing "x": invalid syntax"#,
        ),
        ("GET", "/api/v1/namespaces/a/pods/one/log?container=x", JSON, "", 400, "container x is not valid for pod one"),
        (
            "GET",
            "/api/v1/namespaces/a/pods/one/log?previous=true",
            JSON,
            "",
            400,
            r#"previous terminated container "main" in pod "one" not found"#,
        ),
    ])
    .await;
}

const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

#[tokio::test]
async fn wrong_configurations_are_refused() {
    assert_refused(&[
        (
            "PATCH",
            "/api/v1/namespaces/a/pods/one",
            APPLY,
            "a: 1",
            422,
            r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
        ),
        ("PATCH", "/api/v1/namespaces/a/pods/one?fieldManager=m", APPLY, "a: [", 400, "error decoding YAML: "),
        (
            "PATCH",
            "/api/v1/namespaces/a/pods/one?fieldManager=m",
            APPLY,
            "apiVersion: apps/v1\nkind: Pod",
            400,
            "Incorrect version specified in apply patch. Specified patch version: apps/v1, expected: v1",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/a/pods/one?fieldManager=m",
            APPLY,
            "apiVersion: v1\nkind: Pod\nmetadata: {managedFields: [{}]}",
            400,
            "metadata.managedFields must be nil",
        ),
    ])
    .await;
}

#[tokio::test]
async fn wrong_bodies_are_refused() {
    assert_refused(&[
        (
            "POST",
            "/api/v1/namespaces/a/pods",
            JSON,
            "{",
            400,
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input ({)",
        ),
        (
            "PUT",
            "/api/v1/namespaces/a/pods/one",
            JSON,
            "",
            400,
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            "POST",
            "/api/v1/namespaces/a/pods",
            ("content-type", "application/yaml"),
            "a: [",
            400,
            "the object provided is unrecognized (must be of type Pod): error converting YAML to JSON: yaml: ",
        ),
        (
            "POST",
            "/api/v1/namespaces/a/pods",
            ("content-type", "application/vnd.kubernetes.protobuf"),
            "k8s",
            400,
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; provided data does not appear to be a protobuf message",
        ),
        (
            "POST",
            "/api/v1/namespaces/a/pods",
            ("content-type", "application/cbor"),
            "k8s",
            415,
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/a/pods/one",
            ("content-type", "application/apply-patch+xml"),
            "a: 1",
            415,
            "415: Unsupported Media Type",
        ),
        (
            "POST",
            "/api/v1/namespaces/a/pods?dryRun=Some",
            JSON,
            "{}",
            422,
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: "#,
        ),
        ("DELETE", "/api/v1/namespaces/a/pods/one", JSON, "{", 400, "couldn't get version/kind; json parse error: "),
    ])
    .await;
}

#[tokio::test]
async fn paths_outside_the_api_are_404s() {
    let api = api().await;
    let outside = ["/nope", "/apis/none.io", "/apis/none.io/v1/things", "/readyz/nope", "/healthz/", "/openapi/v2/"];
    let below = ["/version/x", "/api/v9", "/api/v9/pods", "/apis/apps/v9/things", "/apis/apps/v1/things"];
    for url in outside.into_iter().chain(below) {
        let answer = api.get(url).await;
        assert_eq!((answer.code, &answer.json()["reason"]), (404, &json!("NotFound")), "{url}");
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let answer = api().await.send("POST", "/api/v1/namespaces/a/pods", &[], vec![b' '; 3 * 1024 * 1024 + 1]).await;
    assert_eq!((answer.code, &answer.json()["reason"]), (413, &json!("RequestEntityTooLarge")));
}

#[tokio::test]
async fn long_urls_are_refused() {
    assert_eq!(api().await.get(&format!("/api/v1/pods?labelSelector={}", "a".repeat(40_000))).await.code, 414);
}

#[tokio::test]
async fn anonymous_users_see_only_health_and_version() {
    let rules = json!([{"verbs": ["get"], "nonResourceURLs": ["/api"]}]);
    let subjects = json!([{"kind": "Group", "name": "system:authenticated"}]);
    let role = json!({"metadata": {"name": "discovery"}, "rules": rules});
    let binding = json!({"metadata": {"name": "discovery"}, "roleRef": {"kind": "ClusterRole", "name": "discovery"}, "subjects": subjects});
    let (roles, bindings) = ("clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io");
    let api = Api::with(&[pod("a", "one"), (roles, role), (bindings, binding)]).await;
    for (url, token, code) in [
        ("/api/v1/pods", "", 401),
        ("/metrics", "", 401),
        ("/nowhere", "", 401),
        ("/api/v1/pods", "Bearer bad", 401),
        ("/api/v1/pods", "Bearer good", 403),
        ("/api", "Bearer good", 200),
        ("/livez", "", 200),
        ("/readyz", "Bearer bad", 500),
        ("/version", "", 200),
    ] {
        let request = Request::get(url).header("authorization", token).body(Full::new(Bytes::new())).unwrap();
        let answer =
            finish(handle(api.state.clone(), Arc::new(Peer::default()), api.shutdown.subscribe(), request).await).await;
        assert_eq!(answer.code, code, "{url} {token}: {}", answer.text);
    }
}

#[tokio::test]
async fn health_tells_which_check_failed() {
    let api = api().await;
    assert_eq!(api.get("/livez").await.text, "ok");
    assert_eq!(api.get("/livez?verbose").await.text, "[+]ping ok\nlivez check passed\n");
    assert_eq!(api.get("/readyz").await.text, "[+]ping ok\n[-]store failed: reason withheld\nreadyz check failed\n");
    assert_eq!(api.get("/readyz?exclude=store").await.text, "ok");
    let excluded = api.get("/readyz?exclude=store&exclude=b&exclude=a&verbose").await.text;
    let warning = "warn: some health checks cannot be excluded: no matches for \"a\",\"b\"";
    assert_eq!(excluded, format!("[+]ping ok\n[+]store excluded: ok\n{warning}\nreadyz check passed\n"));
    assert_eq!(api.get("/readyz/ping").await.text, "ok");
    assert_eq!(api.get("/readyz/").await.code, 404);
    assert_eq!(api.get("/readyz/store").await.code, 500);
}

#[tokio::test]
async fn the_version_is_kubernetes() {
    let version = api().await.get("/version").await.json();
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("33")));
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.33.0+skiff"), "{version}");
    let commit = version["gitCommit"].as_str().unwrap();
    assert!(!commit.is_empty() && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{version}");
}

#[tokio::test(start_paused = true)]
async fn a_revision_of_the_future_is_waited_for_and_then_refused() {
    let api = api().await;
    let started = tokio::time::Instant::now();
    let answer = api.get("/api/v1/pods?resourceVersion=7").await;
    let status = answer.json();
    assert_eq!((answer.code, answer.header("retry-after"), &status["reason"]), (504, "1", &json!("Timeout")));
    assert_eq!(status["message"], "Timeout: Too large resource version: 7, current: 1");
    assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn too_many_requests_are_told_to_come_back() {
    let api = api().await;
    let all: Vec<_> = std::iter::from_fn(|| api.state.fairness.admit(Holder::Master, Class::Reading)).collect();
    let busy = api.get("/api/v1/pods").await;
    assert_eq!((busy.code, busy.header("retry-after")), (429, "1"));
    let status = busy.json();
    assert_eq!(
        (&status["reason"], &status["message"]),
        (&json!("TooManyRequests"), &json!("too many requests, please try again later"))
    );
    drop(all);
    assert_eq!(api.get("/api/v1/pods").await.code, 200);
}

#[tokio::test]
async fn a_refused_body_is_read_to_its_end() {
    let api = api().await;
    for (method, url, code) in
        [("POST", "/api/v1/namespaces/a/pods", 413), ("PUT", "/api/v1/pods", 405), ("POST", "/nowhere", 404)]
    {
        let read = Arc::new(AtomicUsize::new(0));
        let counter = read.clone();
        let frames = (0..5).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; 1 << 20])))
        });
        let request = Request::builder().method(method).uri(url);
        let request = request.body(StreamBody::new(stream::iter(frames))).unwrap();
        let peer = Arc::new(Peer { user: Some(admin()), ..Peer::default() });
        let answer = finish(handle(api.state.clone(), peer, api.shutdown.subscribe(), request).await).await;
        assert_eq!((answer.code, read.load(Ordering::Relaxed)), (code, 5), "{method} {url}: {}", answer.text);
    }
}

#[tokio::test]
async fn the_head_of_a_request_is_bounded() {
    let api = api().await;
    let long = "a".repeat(33 * 1024);
    let many: Vec<(String, String)> = (0..101).map(|n| (format!("x-{n}"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for headers in [&[("x-long", long.as_str())][..], &many] {
        let answer = api.send("GET", "/api/v1/pods", headers, "").await;
        assert_eq!((answer.code, &answer.json()["kind"]), (431, &json!("Status")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_times_out() {
    let api = api().await;
    for (query, seconds) in [("", 60), ("?timeout=5s", 5)] {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let uri = format!("/api/v1/namespaces/a/pods{query}");
        let request = Request::builder().method("POST").uri(uri).body(never).unwrap();
        let peer = Arc::new(Peer { user: Some(admin()), ..Peer::default() });
        let before = tokio::time::Instant::now();
        let answer = finish(handle(api.state.clone(), peer, api.shutdown.subscribe(), request).await).await;
        let status = answer.json();
        assert_eq!((answer.code, &status["reason"], before.elapsed().as_secs()), (504, &json!("Timeout"), seconds));
    }
    assert_eq!(api.get("/api/v1/pods?timeout=x").await.code, 400);
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_comes_is_closed() {
    let api = api().await;
    for beginning in ["", "PRI * HTTP"] {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(beginning.as_bytes()).await.unwrap();
        let before = tokio::time::Instant::now();
        super::super::serve_connection(server, Peer::default(), api.state.clone(), api.shutdown.subscribe()).await;
        assert_eq!(before.elapsed().as_secs(), 10, "{beginning:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_nobody_is_closed_however_often_it_answers_pings() {
    const PING: u8 = 6;
    let api = api().await;
    let (mut client, server) = tokio::io::duplex(1024);
    let before = tokio::time::Instant::now();
    let serving = super::super::serve_connection(server, Peer::default(), api.state.clone(), api.shutdown.subscribe());
    let answering = async {
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut head = [0; 9];
        while client.read_exact(&mut head).await.is_ok() {
            let mut content = vec![0; usize::from(head[2]) | usize::from(head[1]) << 8];
            client.read_exact(&mut content).await.unwrap();
            if (head[3], head[4]) == (PING, 0) {
                let acknowledged = [&[0, 0, 8, PING, 1, 0, 0, 0, 0][..], &content].concat();
                // The last one may come after the server has closed.
                let _ = client.write_all(&acknowledged).await;
            }
        }
    };
    tokio::join!(serving, answering);
    assert_eq!(before.elapsed().as_secs(), 90);
}

#[tokio::test]
async fn the_version_is_json_alone() {
    let api = api().await;
    for (accept, code) in [
        ("", 200),
        ("application/json;as=Table", 200),
        ("text/html, */*", 200),
        ("application/vnd.kubernetes.protobuf,application/json", 200),
        ("application/*", 406),
        ("application/yaml", 406),
        ("text/plain", 406),
    ] {
        let answer = api.send("GET", "/version", &[("accept", accept)], "").await;
        let kind = if code == 200 { Value::Null } else { json!("Status") };
        assert_eq!((answer.code, &answer.json()["kind"]), (code, &kind), "{accept}");
    }
}
