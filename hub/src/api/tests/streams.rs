//! Watches, logs and connections.

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::api::fairness::Class;
use crate::api::serve_connection;

/// Reads a stream of JSON lines until there are `count` of them.
async fn lines(response: &mut Response<Body>, count: usize) -> Vec<Value> {
    let mut text = String::new();
    while text.matches('\n').count() < count {
        let frame = response.body_mut().frame().await.expect("the stream goes on").unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn brief(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|e| format!("{} {}", e["type"].as_str().unwrap(), e["object"]["metadata"]["name"].as_str().unwrap_or("-")))
        .collect()
}

#[tokio::test]
async fn a_watch_shows_the_state_and_then_changes() {
    let api = Api::with(&[pod("a", "one"), pod("b", "two")]).await;
    let mut watch = api.open("GET", "/api/v1/namespaces/a/pods?watch=true", &[], "").await;
    assert_eq!(brief(&lines(&mut watch, 1).await), ["ADDED one"]);
    api.put("pods", pod("b", "three").1).await;
    api.put("pods", pod("a", "one").1).await;
    assert_eq!(brief(&lines(&mut watch, 1).await), ["MODIFIED one"]);
}

#[tokio::test]
async fn watches_start_where_they_are_told() {
    let api = Api::with(&[pod("a", "one"), pod("a", "two")]).await;
    for (url, expected) in [
        ("/api/v1/pods?watch=1&resourceVersion=1", vec!["ADDED two"]),
        ("/api/v1/watch/namespaces/a/pods/two", vec!["ADDED two"]),
        (
            "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            vec!["ADDED one", "ADDED two", "BOOKMARK -"],
        ),
    ] {
        let mut watch = api.open("GET", url, &[], "").await;
        let events = lines(&mut watch, expected.len()).await;
        assert_eq!(brief(&events), expected, "{url}");
        if let Some(mark) = events.iter().find(|e| e["type"] == "BOOKMARK") {
            assert_eq!(mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        }
    }
}

#[tokio::test]
async fn a_table_watch_has_columns_once() {
    let api = Api::with(&[pod("a", "one"), pod("a", "two")]).await;
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let mut watch = api.open("GET", "/api/v1/pods?watch=true", &[table], "").await;
    let events = lines(&mut watch, 2).await;
    let shape = |e: &Value| {
        (
            e["object"]["kind"].clone(),
            e["object"]["columnDefinitions"].is_array(),
            e["object"]["rows"][0]["cells"][0].clone(),
        )
    };
    assert_eq!(shape(&events[0]), (json!("Table"), true, json!("one")));
    assert_eq!(shape(&events[1]), (json!("Table"), false, json!("two")));
}

#[tokio::test]
async fn a_watch_from_too_far_back_is_told_so() {
    let api = Api::with(&[pod("a", "one"), pod("a", "two"), pod("a", "three")]).await;
    api.store.compact(2).await.unwrap();
    let answer = api.get("/api/v1/pods?watch=true&resourceVersion=1").await;
    let event = answer.json();
    assert_eq!(
        (answer.code, &event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (200, &json!("ERROR"), &json!(410), &json!("Expired"))
    );
}

#[tokio::test(start_paused = true)]
async fn watches_end_in_time_and_on_shutdown() {
    let api = Api::with(&[]).await;
    assert_eq!(api.get("/api/v1/pods?watch=true&timeoutSeconds=5").await.text, "");
    let open = api.open("GET", "/api/v1/pods?watch=true", &[], "").await;
    api.shutdown.send_replace(true);
    assert_eq!(finish(open).await.text, "");
}

#[tokio::test]
async fn an_open_watch_keeps_its_place_until_it_ends() {
    let api = Api::with(&[]).await;
    let watch = api.open("GET", "/api/v1/pods?watch=true", &[], "").await;
    assert_eq!(api.state.fairness.taken(Class::LongRunning), 1);
    drop(watch);
    assert_eq!(api.state.fairness.taken(Class::LongRunning), 0);
}

#[tokio::test]
async fn logs_come_from_the_pods_node() {
    let mut away = pod("a", "away").1;
    away["spec"]["nodeName"] = "away".into();
    let mut pending = pod("a", "pending").1;
    pending["spec"]["nodeName"] = Value::Null;
    let api = Api::with(&[pod("a", "one"), ("pods", away), ("pods", pending)]).await;
    for (url, code, expected) in [
        ("/api/v1/namespaces/a/pods/one/log?tailLines=3", 200, "edge-1 main Some(3)\n"),
        ("/api/v1/namespaces/a/pods/pending/log", 200, ""),
    ] {
        let answer = api.get(url).await;
        assert_eq!((answer.code, answer.text.as_str()), (code, expected), "{url}");
        assert_eq!(answer.header("content-type"), "text/plain", "{url}");
    }
    let away = api.get("/api/v1/namespaces/a/pods/away/log").await;
    assert_eq!((away.code, &away.json()["message"]), (503, &json!("node \"away\" is not connected")));
    let follow = api.open("GET", "/api/v1/namespaces/a/pods/one/log?follow=true", &[], "").await;
    api.shutdown.send_replace(true);
    assert_eq!(finish(follow).await.code, 200);
}

async fn read_until(stream: &mut DuplexStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the connection ended after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    text
}

#[tokio::test]
async fn a_connection_answers_and_ends_with_the_hub() {
    let api = Api::with(&[pod("a", "one")]).await;
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let peer = Peer { user: Some(admin()), ..Peer::default() };
    let serving = serve_connection(server, peer, api.state.clone(), api.shutdown.subscribe());
    let talking = async {
        client.write_all(b"GET /api/v1/namespaces/a/pods/two HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
        let answer = read_until(&mut client, "not found").await;
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        client.write_all(b"GET /api/v1/pods?watch=true HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
        let events = read_until(&mut client, "\"one\"").await;
        assert!(
            events.contains("transfer-encoding: chunked") && events.contains(r#"{"type":"ADDED","object":"#),
            "{events}"
        );
        api.shutdown.send_replace(true);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    };
    tokio::join!(serving, talking);
}
