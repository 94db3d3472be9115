//! Proxied requests: to pods, services and nodes.

use std::time::Duration;

use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::api::serve_connection;

/// A running pod with an address.
fn web(name: &str, ip: &str, node: &str) -> (&'static str, Value) {
    let (resource, mut pod) = pod("a", name);
    pod["spec"]["nodeName"] = node.into();
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080}]);
    pod["status"]["podIPs"] = json!([{"ip": ip}]);
    (resource, pod)
}

async fn api() -> Api {
    let service =
        json!({"metadata": {"namespace": "a", "name": "web"}, "spec": {"ports": [{"port": 80, "name": "http"}]}});
    let bare = json!({"metadata": {"namespace": "a", "name": "bare"}, "spec": {"ports": [{"port": 80}]}});
    let reference = |name| json!({"kind": "Pod", "namespace": "a", "name": name});
    let subset = json!({
        "addresses": [{"ip": "10.42.0.9", "targetRef": reference("gone")}, {"ip": "10.42.0.2", "targetRef": reference("one")}],
        "ports": [{"name": "http", "port": 8080}, {"name": "https", "port": 443}],
    });
    let endpoints =
        |name, subsets| ("endpoints", json!({"metadata": {"namespace": "a", "name": name}, "subsets": subsets}));
    Api::with(&[
        web("one", "10.42.0.2", "edge-1"),
        web("far", "10.42.1.2", "away"),
        pod("a", "new"),
        ("services", service),
        ("services", bare),
        endpoints("web", json!([subset])),
        endpoints("bare", json!([])),
        ("nodes", json!({"metadata": {"name": "edge-1"}})),
        ("nodes", json!({"metadata": {"name": "away"}})),
    ])
    .await
}

#[tokio::test]
async fn requests_reach_pods_and_services() {
    let api = api().await;
    for (method, url, expected) in [
        ("GET", "pods/one/proxy/", "GET / 10.42.0.2:8080 /pods/one/proxy/"),
        (
            "DELETE",
            "pods/one:9090/proxy/a%2Fb//c/?x=%20&watch=1",
            "DELETE /a%2Fb//c/?x=%20&watch=1 10.42.0.2:9090 /pods/one:9090/proxy/a%2Fb//c/",
        ),
        ("POST", "pods/one/proxy", "POST / 10.42.0.2:8080 /pods/one/proxy"),
        ("OPTIONS", "pods/one/proxy/x", "OPTIONS /x 10.42.0.2:8080 /pods/one/proxy/x"),
        ("GET", "pods/https:one:443/proxy/x", "GET /x 10.42.0.2:443 /pods/https:one:443/proxy/x"),
        ("PUT", "services/web:80/proxy/x", "PUT /x 10.42.0.2:8080 /services/web:80/proxy/x"),
        ("PATCH", "services/web:http/proxy/x", "PATCH /x 10.42.0.2:8080 /services/web:http/proxy/x"),
        ("GET", "services/https:web:https/proxy/x", "GET /x 10.42.0.2:443 /services/https:web:https/proxy/x"),
    ] {
        let answer =
            api.send(method, &format!("/api/v1/namespaces/a/{url}"), &[("authorization", "Bearer x")], "").await;
        let [target, host, uri] = [0, 1, 2].map(|i| expected.rsplitn(3, ' ').nth(2 - i).unwrap());
        assert_eq!(answer.code, 200, "{method} {url}: {}", answer.text);
        let lines: Vec<&str> = answer.text.lines().collect();
        assert_eq!(lines[0], target, "{method} {url}");
        for line in [format!("host: {host}"), format!("x-forwarded-uri: /api/v1/namespaces/a{uri}")] {
            assert!(lines.contains(&line.as_str()), "{line} in {lines:?}");
        }
        assert!(!answer.text.contains("authorization"), "{lines:?}");
    }
}

#[tokio::test]
async fn answers_come_back_through_the_proxy() {
    let api = api().await;
    let base = "/api/v1/namespaces/a/pods/one/proxy";
    let answer = api.get(&format!("{base}?a=b")).await;
    assert_eq!((answer.code, answer.header("location")), (301, format!("{base}/?a=b").as_str()));
    let answer = api.get(&format!("{base}/redirect")).await;
    assert_eq!((answer.code, answer.header("location")), (302, format!("{base}/elsewhere?x=1").as_str()));
    assert_eq!(answer.header("keep-alive"), "");
    let answer = api.send("POST", &format!("{base}/echo"), &[], "what is sent").await;
    assert_eq!((answer.code, answer.text.as_str()), (200, "what is sent"));
    assert_eq!(api.get(&format!("{base}/teapot")).await.code, 418);
}

#[tokio::test]
async fn what_cannot_be_reached_says_why() {
    let api = api().await;
    for (url, code, message) in [
        ("pods/one:x/proxy/", 400, r#"invalid pod request "one:x""#),
        ("pods/one:0/proxy/", 400, r#"invalid pod request "one:0""#),
        ("pods/one:70000/proxy/", 400, r#"invalid pod request "one:70000""#),
        ("pods/ftp:one:21/proxy/", 400, r#"invalid pod request "ftp:one:21""#),
        ("pods/gone/proxy/", 404, r#"pods "gone" not found"#),
        ("pods/new/proxy/", 400, "address not allowed"),
        ("pods/one:9/proxy/", 503, "error trying to reach service: dial tcp 10.42.0.2:9: connect: connection refused"),
        ("pods/far/proxy/", 503, r#"error trying to reach service: node "away" is not connected"#),
        ("services/gone/proxy/", 404, r#"endpoints "gone" not found"#),
        ("services/gone:80/proxy/", 404, r#"services "gone" not found"#),
        ("services/web:81/proxy/", 503, r#"no service port 81 found for service "web""#),
        ("services/web/proxy/", 503, r#"no endpoints available for service "web""#),
        ("services/bare:80/proxy/", 503, r#"no endpoints available for service "bare""#),
    ] {
        let answer = api.get(&format!("/api/v1/namespaces/a/{url}")).await;
        assert_eq!(answer.code, code, "{url}: {}", answer.text);
        assert_eq!(answer.json()["message"], message, "{url}");
    }
    assert_eq!(api.get("/api/v1/proxy/namespaces/a/pods/one").await.code, 404, "the legacy prefix is gone");
    assert_eq!(api.get("/api/v1/namespaces/a/configmaps/x/proxy/").await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn bodies_are_not_held() {
    let api = api().await;
    let (feed, body) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(stream::unfold(body, |mut body| async move {
        let bytes = body.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(bytes)), body))
    }));
    let request = Request::post("/api/v1/namespaces/a/pods/one/proxy/echo").body(Box::pin(body)).unwrap();
    let peer = Arc::new(Peer { user: Some(admin()), ..Peer::default() });
    feed.send(Bytes::from_static(b"first")).await.unwrap();
    let mut response = handle(api.state.clone(), peer, api.shutdown.subscribe(), request).await;
    let next = |frame: Option<Result<Frame<Bytes>, _>>| frame.unwrap().unwrap().into_data().unwrap();
    assert_eq!(next(response.body_mut().frame().await), "first");
    // Nobody reads on: what fits into the buffers on the way goes out, and then nothing.
    let mut sent = 0_usize;
    let chunk = Bytes::from(vec![7; 64 * 1024]);
    while tokio::time::timeout(Duration::from_millis(300), feed.send(chunk.clone())).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 8 * 1024 * 1024, "a body is taken though nobody reads the answer");
    }
    drop(feed);
    let mut got = 0;
    while let Some(frame) = response.body_mut().frame().await {
        got += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(got, sent);
}

#[tokio::test]
async fn a_change_of_protocols_is_carried() {
    let api = api().await;
    let (mut stream, server) = tokio::io::duplex(64 * 1024);
    let peer = Peer { user: Some(admin()), ..Peer::default() };
    tokio::spawn(serve_connection(server, peer, api.state.clone(), api.shutdown.subscribe()));
    let head = "GET /api/v1/namespaces/a/pods/one/proxy/socket HTTP/1.1\r\nhost: hub\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap();
    for part in ["HTTP/1.1 101 ", "upgrade: websocket\r\n", "x-pod: yes\r\n"] {
        assert!(answer.contains(part), "{answer}");
    }
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
}

#[tokio::test]
async fn a_refused_change_of_protocols_is_told() {
    let api = api().await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    for (path, code, start) in [("teapot", 418, ""), ("x", 500, "invalid upgrade response: status code 200")] {
        let (mut stream, server) = tokio::io::duplex(64 * 1024);
        let peer = Peer { user: Some(admin()), ..Peer::default() };
        tokio::spawn(serve_connection(server, peer, api.state.clone(), api.shutdown.subscribe()));
        let lines: String = upgrade.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        let head = format!("GET /api/v1/namespaces/a/pods/one/proxy/{path} HTTP/1.1\r\nhost: hub\r\n{lines}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 2048];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(start), "{answer}");
    }
}

#[tokio::test]
async fn nodes_answer_as_kubelets() {
    let api = api().await;
    for (url, code, part) in [
        ("edge-1/proxy/healthz", 200, "ok"),
        ("edge-1:10250/proxy/healthz", 200, "ok"),
        ("edge-1/proxy/containerLogs/a/one/main?tailLines=3", 200, "edge-1 main Some(3)\n"),
        ("edge-1/proxy/containerLogs/a/far/main", 404, "pod \"far\" does not exist\n"),
        ("edge-1/proxy/containerLogs/a/one/x", 404, "container \"x\" not found in pod \"one\"\n"),
        ("edge-1/proxy/metrics/resource", 200, r#"pod_cpu_usage_seconds_total{namespace="a",pod="one"} 1 0"#),
        ("edge-1/proxy/run/a/one/main", 404, "404 page not found"),
        ("edge-1:80/proxy/healthz", 400, "only port 10250 is served"),
        ("gone/proxy/healthz", 404, r#"nodes \"gone\" not found"#),
        ("away/proxy/healthz", 503, r#"error trying to reach service: node \"away\" is not connected"#),
        ("away/proxy/stats/summary", 503, r#"error trying to reach service: node \"away\" is not connected"#),
    ] {
        let answer = api.get(&format!("/api/v1/nodes/{url}")).await;
        assert_eq!(answer.code, code, "{url}: {}", answer.text);
        assert!(answer.text.contains(part), "{url}: {}", answer.text);
    }
    assert_eq!(names(&api.get("/api/v1/nodes/edge-1/proxy/pods").await.json()), ["new", "one"]);
    let summary = api.get("/api/v1/nodes/edge-1/proxy/stats/summary").await.json();
    assert_eq!(summary["pods"][0]["podRef"]["name"], "one");
    assert_eq!(api.get("/api/v1/nodes/edge-1/proxy").await.code, 301);
    assert_eq!(api.send("POST", "/api/v1/nodes/edge-1/proxy/pods", &[], "").await.code, 405);
}
