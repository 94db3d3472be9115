//! Streams that the hub opens to an agent: one request frame, one reply frame, then bytes as the request defines them.
//!
//! Exec and attach carry several channels in [`channel`] frames. Everywhere else the bytes are raw.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ids::PodUid;

pub mod channel;
pub mod stats;

/// First frame of a hub-opened stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamRequest {
    /// A container's log. The agent's side then carries the log's raw bytes until its end; the hub stops it by resetting.
    Logs(LogsRequest),
    /// A command in a running container. Both directions then carry [`channel`] frames; the hub's end of its side
    /// means that the client is gone, and the command is killed.
    Exec(ExecRequest),
    /// The streams of a container's main process, in [`channel`] frames as for [`StreamRequest::Exec`].
    Attach(AttachRequest),
    /// A TCP connection to a port of a pod: raw bytes both ways, and either side ends its own.
    PortForward(PortForwardRequest),
    /// A TCP connection to a port of a pod at its own address, as other pods would make it: raw bytes both ways, and
    /// either side ends its own.
    Dial(DialRequest),
    /// Something about the node itself, in one answer.
    Node(NodeRequest),
}

/// Which streams a client of exec or attach wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// It sends input.
    pub stdin: bool,
    /// It takes standard output.
    pub stdout: bool,
    /// It takes standard error; never together with `tty`, where there is one stream only.
    pub stderr: bool,
    /// It is a terminal.
    pub tty: bool,
}

/// A command to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The pod.
    pub pod: PodUid,
    /// The container.
    pub container: String,
    /// Program and arguments; not passed through a shell.
    pub command: Vec<String>,
    /// The streams.
    pub wanted: Wanted,
}

/// A container to attach to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The pod.
    pub pod: PodUid,
    /// The container.
    pub container: String,
    /// The streams.
    pub wanted: Wanted,
}

/// A port to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForwardRequest {
    /// The pod.
    pub pod: PodUid,
    /// The port, on the pod's own loopback address.
    pub port: u16,
}

/// An address in a pod's network to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialRequest {
    /// The pod.
    pub pod: PodUid,
    /// The pod's address, as the hub shows it.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

/// What the hub wants to know of a node. Its side of the stream ends with the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRequest {
    /// Whether the agent is well: nothing follows the reply.
    Health,
    /// What the machine and its pods use: a [`stats::NodeStats`] in postcard follows the reply.
    Stats,
}

/// The agent's answer to a [`StreamRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamReply {
    /// Bytes follow.
    Ok,
    /// No such pod or container here, or no such previous container; the text is what the API's user gets (400).
    BadRequest(String),
    /// Something failed; the text is what the API's user gets (500).
    Failed(String),
}

/// Options of `GET …/pods/NAME/log`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// The pod.
    pub pod: PodUid,
    /// The container.
    pub container: String,
    /// Stay until the container ends.
    pub follow: bool,
    /// The container before this one.
    pub previous: bool,
    /// Only lines at or after this time, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// An RFC 3339 time with nanoseconds and a space before each line.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}
