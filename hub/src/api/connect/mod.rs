//! `exec`, `attach` and `portforward` of pods: checked here as apiserver and kubelet would, then carried between the
//! client (WebSocket or SPDY/3.1) and the pod's node.
//!
//! Nothing is held on the way but a chunk per direction: each side is read only as fast as the other takes it.

mod channels;
mod events;
mod forward;
mod handshake;
mod session;
mod spdy;
mod tunnel;

use std::sync::Arc;

use hyper::Response;
use serde_json::Value;
use skiff_shared::ids::PodUid;
use skiff_shared::wire::stream::{AttachRequest, ExecRequest, StreamRequest, Wanted};

use super::logs::{StreamError, choose_container};
use super::query::Query;
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::status::Status;
use crate::registry::Kind;
pub(crate) use events::{bytes, events};
use forward::Forwarder;
pub(crate) use handshake::Handshake;

/// Whether a path's subresource is one of those here.
pub(crate) fn is_connect(path: &ResourcePath) -> bool {
    path.group.is_empty()
        && path.resource == "pods"
        && matches!(path.subresource.as_str(), "exec" | "attach" | "portforward")
}

/// Answers with a change of protocols, and serves the connection from then on.
pub(crate) async fn connect(call: &Call, kind: &Kind, path: &ResourcePath) -> Result<Response<Body>, Status> {
    let object = call.find(kind, path)?;
    let pod: Value =
        object.parse().map_err(|e| Status::internal(&format!("pod {:?} cannot be read: {e}", path.name)))?;
    let uid = PodUid::parse(&object.meta.uid).map_err(|e| Status::internal(&e.to_string()))?;
    let host = |node: &&str| !node.is_empty();
    let container = match path.subresource.as_str() {
        "portforward" => String::new(),
        _ => choose_container(&pod, call.query.get("container"))?,
    };
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(host) else {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", path.name)));
    };
    if path.subresource == "portforward" {
        let streams = Arc::clone(&call.state.streams);
        let forwarder = Forwarder { streams, node: node.to_owned(), pod: uid, name: path.name.clone() };
        return port_forward(call, Arc::new(forwarder));
    }
    let wanted = wanted(&call.query)?;
    let request = match path.subresource.as_str() {
        "exec" => StreamRequest::Exec(ExecRequest { pod: uid, container, command: command(&call.query)?, wanted }),
        _ => StreamRequest::Attach(AttachRequest { pod: uid, container, wanted }),
    };
    remote_command(call, node, request, wanted).await
}

/// Runs or attaches. The node is asked first, so that its refusal is an ordinary answer.
async fn remote_command(
    call: &Call,
    node: &str,
    request: StreamRequest,
    wanted: Wanted,
) -> Result<Response<Body>, Status> {
    let handshake = Handshake::read(call)?;
    match handshake.websocket(channels::PROTOCOLS, Some(channels::DEFAULT))? {
        Some((accepted, protocol)) => {
            let node = match open(call, node, request).await {
                Ok(node) => node,
                Err(refusal) => return refusal,
            };
            Ok(accepted.serve(call, move |io| async move { channels::serve(io, node, wanted, protocol).await }))
        }
        None => {
            let (accepted, protocol) = match handshake.spdy(spdy::PROTOCOLS, Some(spdy::DEFAULT)) {
                Ok(accepted) => accepted,
                Err(refusal) => return Ok(*refusal),
            };
            let node = match open(call, node, request).await {
                Ok(node) => node,
                Err(refusal) => return refusal,
            };
            Ok(accepted.serve(call, move |io| async move { spdy::serve(io, node, wanted, protocol).await }))
        }
    }
}

/// Opens the node's side. What fails there is told in plain text, as a kubelet's answer is passed on: kubectl prints it
/// after "unable to upgrade connection".
async fn open(
    call: &Call,
    node: &str,
    request: StreamRequest,
) -> Result<super::logs::NodeStream, Result<Response<Body>, Status>> {
    call.state.streams.open(node, request).await.map_err(|error| match error {
        StreamError::Failed(text) => Ok(respond::bytes(500, respond::TEXT, text)),
        other @ (StreamError::BadRequest(_) | StreamError::NotConnected(_)) => Err(other.into()),
    })
}

fn port_forward(call: &Call, forwarder: Arc<Forwarder>) -> Result<Response<Body>, Status> {
    let handshake = Handshake::read(call)?;
    match handshake.websocket(tunnel::PROTOCOLS, Some(tunnel::DEFAULT))? {
        Some((accepted, tunnel::Protocol::Spdy)) => {
            Ok(accepted.serve(call, move |io| async move { tunnel::spdy(io, forwarder).await }))
        }
        Some((accepted, tunnel::Protocol::Channels { base64 })) => {
            let ports = ports(&call.query)?;
            Ok(accepted.serve(call, move |io| async move { tunnel::channels(io, forwarder, &ports, base64).await }))
        }
        None => match handshake.spdy(&[("portforward.k8s.io", ())], None) {
            Ok((accepted, ())) => Ok(accepted.serve(call, move |io| async move { forward::spdy(io, forwarder).await })),
            Err(refusal) => Ok(*refusal),
        },
    }
}

/// Reads `PodExecOptions` and `PodAttachOptions`.
fn wanted(query: &Query) -> Result<Wanted, Status> {
    let (stdin, stdout, tty) = (query.flag("stdin"), query.flag("stdout"), query.flag("tty"));
    // A terminal has one output.
    let stderr = query.flag("stderr") && !tty;
    if stdin || stdout || stderr {
        Ok(Wanted { stdin, stdout, stderr, tty })
    } else {
        Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
    }
}

fn command(query: &Query) -> Result<Vec<String>, Status> {
    let words: Vec<String> = query.all("command").map(str::to_owned).collect();
    let missing = || Status::bad_request("you must specify at least one command for the container");
    if words.first().is_some_and(|word| !word.is_empty()) { Ok(words) } else { Err(missing()) }
}

/// The ports of a port-forward over WebSocket channels, which must be known beforehand.
fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    /// Each port has two of the 256 channels; more than a handful is a mistake.
    const MAX_PORTS: usize = 16;
    let words: Vec<&str> = query.all("ports").flat_map(|list| list.split(',')).collect();
    if words.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    if words.len() > MAX_PORTS {
        return Err(Status::bad_request(format!("at most {MAX_PORTS} ports may be forwarded at once")));
    }
    let port = |word: &str| word.parse().ok().filter(|p| *p > 0);
    let wrong = |word: &str| Status::bad_request(format!("invalid port {word:?}: port must be between 1 and 65535"));
    words.into_iter().map(|word| port(word).ok_or_else(|| wrong(word))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let read = |text| wanted(&Query::parse(text)).map_err(|s| s.message);
        let none = Wanted::default();
        for (text, expected) in [
            ("stdin=true&stdout=1", Ok(Wanted { stdin: true, stdout: true, ..none })),
            ("stdout=true&stderr=true", Ok(Wanted { stdout: true, stderr: true, ..none })),
            ("stdout=true&stderr=true&tty=true", Ok(Wanted { stdout: true, tty: true, ..none })),
            ("tty=true&stdin=false", Err("you must specify at least 1 of stdin, stdout, stderr".to_owned())),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        assert_eq!(command(&Query::parse("command=sh&command=&command=-c")).unwrap(), ["sh", "", "-c"]);
        assert!(command(&Query::parse("command=")).is_err() && command(&Query::parse("")).is_err());
    }

    #[test]
    fn ports_are_read() {
        let read = |text| ports(&Query::parse(text)).map_err(|s| s.message);
        assert_eq!(read("ports=80&ports=81,82"), Ok(vec![80, 81, 82]));
        for (text, error) in [
            ("", "query parameter \"ports\" is required"),
            ("ports=0", "invalid port \"0\": port must be between 1 and 65535"),
            ("ports=80,x", "invalid port \"x\": port must be between 1 and 65535"),
        ] {
            assert_eq!(read(text), Err(error.to_owned()));
        }
        assert!(read(&"ports=1&".repeat(17)).is_err());
    }
}
