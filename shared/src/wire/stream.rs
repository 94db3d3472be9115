//! Streams that the hub opens to an agent: one request frame, one reply frame, then bytes as the request defines them.

use serde::{Deserialize, Serialize};

use crate::ids::PodUid;

/// First frame of a hub-opened stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamRequest {
    /// A container's log. The agent's side then carries the log's raw bytes until its end; the hub stops it by resetting.
    Logs(LogsRequest),
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
