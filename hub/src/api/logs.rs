//! `GET …/pods/NAME/log`: checked here against the pod's status, as a kubelet would, then streamed from its node.

use std::{fmt, io};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hyper::Response;
use jiff::Timestamp;
use serde_json::Value;
use skiff_shared::ids::PodUid;
use skiff_shared::wire::stream::{LogsRequest, StreamRequest};
use tokio::io::{AsyncRead, AsyncWrite};

use super::query::Query;
use super::request::ResourcePath;
use super::respond::{self, Body};
use super::router::Call;
use super::server::ended;
use super::status::Status;
use crate::registry::{FieldError, FieldErrorKind, Kind};
use crate::store::Object;

/// Bytes of a log, in order, until its end. Dropping it stops the log.
pub type LogStream = BoxStream<'static, io::Result<Bytes>>;

/// Streams to nodes, over the agents' own connections.
#[async_trait]
pub trait NodeStreams: Send + Sync + 'static {
    /// Opens a container's log on a node.
    ///
    /// # Errors
    /// [`StreamError`].
    async fn logs(&self, node: &str, request: LogsRequest) -> Result<LogStream, StreamError>;

    /// Opens any other stream to a node, which has agreed to it.
    ///
    /// # Errors
    /// [`StreamError`].
    async fn open(&self, node: &str, request: StreamRequest) -> Result<NodeStream, StreamError>;
}

/// Both halves of a stream to a node. The node takes the end of both for a client that is gone.
pub struct NodeStream {
    /// Towards the node.
    pub send: Box<dyn AsyncWrite + Send + Unpin>,
    /// From the node.
    pub recv: Box<dyn AsyncRead + Send + Unpin>,
}

impl fmt::Debug for NodeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeStream")
    }
}

/// Why a stream to a node cannot be opened. The texts are what the API's user gets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The node refuses the request (400).
    #[error("{0}")]
    BadRequest(String),
    /// The node has no connection to the hub now (503).
    #[error("node {0:?} is not connected")]
    NotConnected(String),
    /// The node or the way to it failed (500).
    #[error("{0}")]
    Failed(String),
}

impl From<StreamError> for Status {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::BadRequest(text) => Self::bad_request(text),
            StreamError::NotConnected(_) => Self::unavailable(error.to_string()),
            StreamError::Failed(text) => Self::internal(&text),
        }
    }
}

/// Answers with a container's log.
pub(crate) async fn logs(call: &Call, kind: &Kind, path: &ResourcePath) -> Result<Response<Body>, Status> {
    let options = options(&call.query, Timestamp::now())?;
    let object = call.find(kind, path)?;
    let pod: Value =
        object.parse().map_err(|e| Status::internal(&format!("pod {:?} cannot be read: {e}", path.name)))?;
    let container = choose_container(&pod, call.query.get("container"))?;
    stream(call, &object, &pod, &container, options).await
}

/// Answers with the log of a container of a pod.
pub(super) async fn stream(
    call: &Call,
    object: &Object,
    pod: &Value,
    container: &str,
    options: LogsRequest,
) -> Result<Response<Body>, Status> {
    let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) else {
        // A pod that is on no node yet has an empty log, as in Kubernetes.
        return Ok(respond::bytes(200, respond::LOG, ""));
    };
    let id = check_status(pod, container, options.previous)?;
    let uid = PodUid::parse(&object.meta.uid).map_err(|e| Status::internal(&e.to_string()))?;
    let request = LogsRequest { pod: uid, container: container.to_owned(), ..options };
    let bytes = match call.state.streams.logs(node, request).await {
        // By its status it has a log. A kubelet that finds none has begun its answer already.
        Err(StreamError::BadRequest(_)) => {
            return Ok(respond::bytes(200, respond::LOG, format!("unable to retrieve container logs for {id}")));
        }
        opened => opened?,
    };
    let mut shutdown = call.shutdown.clone();
    let down = async move { ended(&mut shutdown).await };
    Ok(respond::streamed(respond::LOG, bytes.take_until(Box::pin(down))))
}

/// Reads the query (`PodLogOptions`); pod and container are left to fill in.
pub(super) fn options(query: &Query, now: Timestamp) -> Result<LogsRequest, Status> {
    let mut errors = Vec::new();
    let mut at_least = |field: &'static str, least: i64| -> Result<Option<u64>, Status> {
        let given = query.integer(field)?;
        if let Some(n) = given.filter(|n| *n < least) {
            let detail = if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
            errors.push(FieldError {
                field: field.into(),
                kind: FieldErrorKind::Invalid(n.to_string()),
                detail: detail.into(),
            });
        }
        Ok(given.and_then(|n| u64::try_from(n).ok()))
    };
    let tail_lines = at_least("tailLines", 0)?;
    let limit_bytes = at_least("limitBytes", 1)?;
    let since_seconds = at_least("sinceSeconds", 1)?;
    let since_time = query.get("sinceTime").map(parse_time).transpose()?;
    if since_seconds.is_some() && since_time.is_some() {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError { field: String::new(), kind: FieldErrorKind::Forbidden, detail: detail.into() });
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", "", &errors));
    }
    let ago = |seconds: u64| {
        now.as_millisecond().saturating_sub(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX))
    };
    let placeholder = PodUid::parse("unset").map_err(|e| Status::internal(&e.to_string()))?;
    Ok(LogsRequest {
        pod: placeholder,
        container: String::new(),
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        since_ms: since_seconds.map(ago).or(since_time),
        tail_lines,
        timestamps: query.flag("timestamps"),
        limit_bytes,
    })
}

fn parse_time(text: &str) -> Result<i64, Status> {
    let wrong = |e: jiff::Error| Status::bad_request(format!("parsing time {text:?}: {e}"));
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(wrong)
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    pod["spec"][list].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

/// The container asked for, or the only one.
pub(super) fn choose_container(pod: &Value, asked: Option<&str>) -> Result<String, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let (containers, init) = (names(pod, "containers"), names(pod, "initContainers"));
    match (asked, containers.as_slice()) {
        (Some(asked), _) => {
            let known =
                [&containers, &init, &names(pod, "ephemeralContainers")].into_iter().flatten().any(|c| *c == asked);
            let wrong = || Status::bad_request(format!("container {asked} is not valid for pod {name}"));
            known.then(|| asked.to_owned()).ok_or_else(wrong)
        }
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        (None, many) => {
            let mut message =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", many.join(" "));
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

/// The id of the container that has the log by what is known of it; a refusal is in a kubelet's words.
fn check_status(pod: &Value, container: &str, previous: bool) -> Result<String, Status> {
    let subject = format!("container {container:?} in pod {:?}", pod["metadata"]["name"].as_str().unwrap_or_default());
    let refuse = |text: String| Err(Status::bad_request(text));
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let mut all = lists.iter().flat_map(|list| pod["status"][*list].as_array().into_iter().flatten());
    let Some(status) = all.find(|s| s["name"] == container) else {
        return refuse(format!("{subject} is not available"));
    };
    let id = |end: &Value| end["containerID"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    let (state, last) = (&status["state"], &status["lastState"]["terminated"]);
    if previous {
        return id(last).ok_or_else(|| Status::bad_request(format!("previous terminated {subject} not found")));
    }
    if state["running"].is_object() {
        return Ok(id(status).unwrap_or_default());
    }
    if state["terminated"].is_object() || last.is_object() {
        let found = id(&state["terminated"]).or_else(|| id(last));
        return found.ok_or_else(|| Status::bad_request(format!("{subject} is terminated")));
    }
    let waiting = &state["waiting"];
    refuse(match waiting["reason"].as_str() {
        Some("ErrImagePull") => format!("{subject} is waiting to start: image can't be pulled"),
        Some("ImagePullBackOff") => format!("{subject} is waiting to start: trying and failing to pull image"),
        Some(reason) => format!("{subject} is waiting to start: {reason}"),
        None => format!("{subject} is waiting to start - no logs yet"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_chosen_or_asked_for() {
        let one = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}]}});
        let two = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let init = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        for (pod, asked, expected) in [
            (&one, None, Ok("a")),
            (&two, Some("b"), Ok("b")),
            (&init, Some("i"), Ok("i")),
            (&two, None, Err("a container name must be specified for pod web, choose one of: [a b]")),
            (
                &init,
                None,
                Err(
                    "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i]",
                ),
            ),
            (&one, Some("x"), Err("container x is not valid for pod web")),
        ] {
            let chosen = choose_container(pod, asked).map_err(|s| s.message);
            assert_eq!(chosen.as_deref().map_err(String::as_str), expected, "{asked:?}");
        }
    }

    #[test]
    fn containers_without_a_log_say_why() {
        let running = json!({"state": {"running": {}}});
        let crashed = json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"containerID": "podman://1"}}});
        let lost = json!({"state": {"terminated": {"exitCode": 137}}});
        let creating = json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
        let pulling = json!({"state": {"waiting": {"reason": "ErrImagePull"}}});
        for (status, previous, expected) in [
            (&running, false, ""),
            (&running, true, r#"previous terminated container "x" in pod "y" not found"#),
            (&crashed, false, ""),
            (&crashed, true, ""),
            (&lost, false, r#"container "x" in pod "y" is terminated"#),
            (&creating, false, r#"container "x" in pod "y" is waiting to start: ContainerCreating"#),
            (&pulling, false, r#"container "x" in pod "y" is waiting to start: image can't be pulled"#),
            (&Value::Null, false, r#"container "x" in pod "y" is not available"#),
        ] {
            let mut status = status.clone();
            if status.is_object() {
                status["name"] = "x".into();
            }
            let pod = json!({"metadata": {"name": "y"}, "status": {"containerStatuses": [status]}});
            let message = check_status(&pod, "x", previous).err().map_or(String::new(), |s| s.message);
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn log_options_are_checked() {
        let now = Timestamp::from_second(1000).unwrap();
        let read = |query| options(&Query::parse(query), now).map_err(|s| s.message);
        let good = read("follow=true&tailLines=0&sinceSeconds=10&timestamps=true&limitBytes=5").unwrap();
        assert_eq!(
            (good.follow, good.tail_lines, good.since_ms, good.timestamps, good.limit_bytes),
            (true, Some(0), Some(990_000), true, Some(5))
        );
        assert_eq!(read("sinceTime=1970-01-01T00:00:02Z").unwrap().since_ms, Some(2000));
        for (query, expected) in [
            (
                "tailLines=-1",
                r#"PodLogOptions "" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0"#,
            ),
            ("limitBytes=0", r#"PodLogOptions "" is invalid: limitBytes: Invalid value: 0: must be greater than 0"#),
            ("tailLines=x", r#"strconv.ParseInt: parsing "x": invalid syntax"#),
        ] {
            assert_eq!(read(query).unwrap_err(), expected);
        }
    }
}
