//! `nodes/NAME/proxy`: the part of a kubelet's API that clients read, answered from the store and by the node's agent.

use bytes::Bytes;
use hyper::{Method, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_shared::wire::stream::stats::NodeStats;
use skiff_shared::wire::stream::{NodeRequest, StreamRequest};
use tokio::io::AsyncReadExt;

use super::super::logs::{self, StreamError};
use super::super::query::decode;
use super::super::request::ResourcePath;
use super::super::respond::{self, Body};
use super::super::router::Call;
use super::super::status::Status;
use super::target::Reference;
use super::usage::{self, Pod};
use super::{out_of_reach, redirect};
use crate::store::{Key, Object};

/// The port of kubelets, which nodes do not listen on here: their agent is reached through its own connection.
const PORT: &str = "10250";

/// Most bytes of a node's answer: a few hundred containers.
const MAX_STATS: u64 = 1024 * 1024;

/// Answers a request to a node.
pub(super) async fn answer(call: &Call, path: &ResourcePath, rest: &str) -> Result<Response<Body>, Status> {
    let reference = Reference::parse("node", &path.name)?;
    let node = reference.name;
    let key = Key { resource: "nodes".into(), namespace: "".into(), name: node.into() };
    let stored = call.state.objects.snapshot().get(&key).cloned();
    let stored = stored.ok_or_else(|| Status::not_found("nodes", node))?;
    if !matches!(reference.port, "" | PORT) {
        return Err(Status::bad_request(format!("invalid node request {:?}: only port {PORT} is served", path.name)));
    }
    if let Some(redirect) = redirect(call, rest) {
        return Ok(redirect);
    }
    if ![Method::GET, Method::HEAD].contains(&call.method) {
        return Ok(text(405, "405: Method Not Allowed"));
    }
    let segments: Vec<String> = rest.trim_matches('/').split('/').map(|s| decode(s, false)).collect();
    match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["healthz"] => healthy(call, node).await,
        ["pods"] => Ok(pods(call, node)),
        ["configz"] => {
            let config = configuration(&stored.parse().unwrap_or_default());
            Ok(respond::bytes(200, respond::JSON, config.to_string()))
        }
        ["containerLogs", namespace, pod, container] => container_logs(call, node, namespace, pod, container).await,
        ["stats", "summary"] => {
            let summary = usage::summary(node, &stats(call, node).await?, &names(call, node));
            Ok(respond::bytes(200, respond::JSON, summary.to_string()))
        }
        ["metrics"] | ["metrics", "resource"] => {
            let metrics = usage::metrics(&stats(call, node).await?, &names(call, node));
            Ok(respond::bytes(200, "text/plain; version=0.0.4; charset=utf-8", metrics))
        }
        _ => Ok(text(404, "404 page not found\n")),
    }
}

fn text(code: u16, text: &str) -> Response<Body> {
    respond::bytes(code, respond::TEXT, text.to_owned())
}

async fn healthy(call: &Call, node: &str) -> Result<Response<Body>, Status> {
    match call.state.streams.open(node, StreamRequest::Node(NodeRequest::Health)).await {
        Ok(_) => Ok(text(200, "ok")),
        Err(StreamError::Failed(why)) => Ok(text(500, &why)),
        Err(error @ (StreamError::NotConnected(_) | StreamError::BadRequest(_))) => {
            Err(out_of_reach(&error.to_string()))
        }
    }
}

async fn stats(call: &Call, node: &str) -> Result<NodeStats, Status> {
    let failed = |why: &dyn std::fmt::Display| out_of_reach(&why.to_string());
    let opened = call.state.streams.open(node, StreamRequest::Node(NodeRequest::Stats)).await;
    let stream = opened.map_err(|e| failed(&e))?;
    let mut bytes = Vec::new();
    stream.recv.take(MAX_STATS).read_to_end(&mut bytes).await.map_err(|e| failed(&e))?;
    postcard::from_bytes(&bytes).map_err(|e| failed(&e))
}

/// As much of a kubelet's configuration as an agent has: what it does not have is left out.
fn configuration(node: &Value) -> Value {
    let most_pods = node["status"]["capacity"]["pods"].as_str().and_then(|n| n.parse::<u32>().ok());
    let mut config = json!({
        "enableServer": true, "port": 10250, "nodeStatusReportFrequency": "5m0s", "serializeImagePulls": true,
        "failSwapOn": false, "registerNode": true, "seccompDefault": true,
    });
    if let Some(most_pods) = most_pods {
        config["maxPods"] = most_pods.into();
    }
    if let Some(subnet) = node["spec"]["podCIDR"].as_str() {
        config["podCIDR"] = subnet.into();
    }
    json!({ "kubeletconfig": config })
}

/// The pods of a node, as they are stored.
fn on_node(call: &Call, node: &str) -> Vec<std::sync::Arc<Object>> {
    let is_there = |object: &Object| object.parse::<Value>().is_ok_and(|pod| pod["spec"]["nodeName"] == node);
    // Most pods are elsewhere, and most of those do not as much as name the node.
    let named = |object: &Object| object.json.windows(node.len()).any(|part| part == node.as_bytes());
    let snapshot = call.state.objects.snapshot();
    snapshot.list(&"pods".into(), None).filter(|o| named(o) && is_there(o)).cloned().collect()
}

fn names(call: &Call, node: &str) -> Vec<Pod> {
    let pod = |object: std::sync::Arc<Object>| Pod {
        uid: object.meta.uid.to_string(),
        namespace: object.key.namespace.to_string(),
        name: object.key.name.to_string(),
    };
    on_node(call, node).into_iter().map(pod).collect()
}

fn pods(call: &Call, node: &str) -> Response<Body> {
    let mut list = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#.to_vec();
    for (i, pod) in on_node(call, node).iter().enumerate() {
        list.extend(if i > 0 { &b","[..] } else { &[] });
        list.extend_from_slice(&pod.json);
    }
    list.extend(b"]}");
    respond::bytes(200, respond::JSON, Bytes::from(list))
}

async fn container_logs(
    call: &Call,
    node: &str,
    namespace: &str,
    name: &str,
    container: &str,
) -> Result<Response<Body>, Status> {
    let key = Key { resource: "pods".into(), namespace: namespace.into(), name: name.into() };
    let object = call.state.objects.snapshot().get(&key).cloned();
    let pod = object.as_ref().and_then(|o| o.parse::<Value>().ok()).filter(|pod| pod["spec"]["nodeName"] == node);
    let (Some(object), Some(pod)) = (object, pod) else {
        return Ok(text(404, &format!("pod {name:?} does not exist\n")));
    };
    if logs::choose_container(&pod, Some(container)).is_err() {
        return Ok(text(404, &format!("container {container:?} not found in pod {name:?}\n")));
    }
    let options = logs::options(&call.query, Timestamp::now())?;
    logs::stream(call, &object, &pod, container, options).await
}
