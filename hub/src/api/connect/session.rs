//! A command's or container's streams between a client and a node, whatever the client's protocol.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use skiff_shared::tls::io::{read_chunk, write_chunks};
use skiff_shared::wire::stream::channel::{Channel, End, size};
use tokio::io::AsyncWriteExt;

use crate::api::logs::NodeStream;
use crate::api::status::{Cause, Details, Status, success};

/// How long a client may take to close its connection after it was told the end.
const LINGER: Duration = Duration::from_secs(10);

/// Longest message about a terminal's size.
const MAX_SIZE: usize = 1024;

/// What comes from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// Input for the command.
    Stdin(Bytes),
    /// Its end.
    EndOfStdin,
    /// The client's terminal has so many columns and rows.
    Resize(u16, u16),
}

/// The client's sending half.
pub(super) trait Source: Send {
    /// What comes next; `None` when the client is gone.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Input>>> + Send;
}

/// The client's receiving half. Each call waits until the client takes what is sent.
pub(super) trait Sink: Send {
    /// Some output, or error output.
    fn output(&mut self, stderr: bool, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
    /// The end: all streams are closed.
    fn end(&mut self, end: &End) -> impl Future<Output = io::Result<()>> + Send;
    /// Closes the connection.
    fn close(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Carries the streams until the command ends or the client is gone; the node notices either.
pub(super) async fn relay(node: NodeStream, mut source: impl Source, mut sink: impl Sink) {
    let NodeStream { mut send, mut recv } = node;
    let ended = tokio::select! {
        end = downwards(&mut recv, &mut sink) => end.map(Some),
        gone = upwards(&mut source, &mut send) => gone.map(|()| None),
    };
    let told = async {
        let Some(end) = ended? else { return Ok(()) };
        sink.end(&end).await?;
        // What the client still sends is of no use; but closing before it has read all could cost it the end.
        let gone = async { while let Ok(Some(_)) = source.next().await {} };
        drop(tokio::time::timeout(LINGER, gone).await);
        sink.close().await
    };
    let told: io::Result<()> = told.await;
    if let Err(error) = told {
        tracing::debug!(%error, "a client of exec or attach is gone");
    }
}

/// Carries output until the end. Errors are the client's; a node that is lost is an end.
async fn downwards(recv: &mut (impl tokio::io::AsyncRead + Unpin), sink: &mut impl Sink) -> io::Result<End> {
    let lost = |why: &str| End::Failed(format!("the connection to the node was lost{why}"));
    let mut buffer = Vec::new();
    loop {
        match read_chunk(recv, &mut buffer).await {
            Ok(Some(Channel::Stdout)) => sink.output(false, &buffer).await?,
            Ok(Some(Channel::Stderr)) => sink.output(true, &buffer).await?,
            Ok(Some(Channel::End)) => return Ok(End::decode(&buffer)),
            Ok(Some(Channel::Stdin | Channel::Resize)) => {}
            Ok(None) => return Ok(lost("")),
            Err(error) => return Ok(lost(&format!(": {error}"))),
        }
    }
}

/// Carries input until the client is gone.
async fn upwards(source: &mut impl Source, send: &mut (impl tokio::io::AsyncWrite + Unpin)) -> io::Result<()> {
    // A node that takes no more is lost, or has sent the end: either is noticed where its side is read.
    let mut open = true;
    while let Some(input) = source.next().await? {
        if !open {
            continue;
        }
        let written = match input {
            Input::Stdin(bytes) if bytes.is_empty() => Ok(()),
            Input::Stdin(bytes) => write_chunks(send, Channel::Stdin, &bytes).await,
            Input::EndOfStdin => write_chunks(send, Channel::Stdin, &[]).await,
            Input::Resize(columns, rows) => write_chunks(send, Channel::Resize, &size(columns, rows)).await,
        };
        open = written.is_ok() && send.flush().await.is_ok();
    }
    Ok(())
}

/// What the error stream says of an end: a `Status`, or by the protocols before v4 a text, and nothing of a success.
pub(super) fn status(end: &End, json: bool) -> Vec<u8> {
    let failure = match end {
        End::Exited(0) => return if json { success(None, None) } else { Vec::new() },
        End::Exited(code) => non_zero(*code),
        End::Failed(text) => Status::internal(text),
    };
    if json { failure.to_json() } else { failure.message.into_bytes() }
}

fn non_zero(code: i32) -> Status {
    let cause = Cause { reason: "ExitCode", message: code.to_string(), field: String::new() };
    let message = format!("command terminated with non-zero exit code: exit status {code}");
    Status::new(500, "NonZeroExitCode", message).with(Details { causes: vec![cause], ..Details::default() })
}

/// Collects messages about the terminal's size, which come as JSON one after the other.
#[derive(Debug, Default)]
pub(super) struct Sizes(Vec<u8>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

impl Sizes {
    /// Takes some bytes; gives the newest size that is complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Input> {
        self.0.extend_from_slice(bytes);
        let mut newest = None;
        while let Some(end) = self.0.iter().position(|b| *b == b'}') {
            let message: Vec<u8> = self.0.drain(..=end).collect();
            newest = serde_json::from_slice::<Size>(&message).ok().or(newest);
        }
        // Whoever sends so much without an end does not speak of sizes.
        self.0.truncate(MAX_SIZE);
        newest.map(|size| Input::Resize(size.width, size.height))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn ends_are_told_as_kubernetes_does() {
        let text = |end: End| String::from_utf8(status(&end, false)).unwrap();
        assert_eq!(text(End::Exited(0)), "");
        assert_eq!(text(End::Exited(3)), "command terminated with non-zero exit code: exit status 3");
        assert_eq!(text(End::Failed("x".into())), "Internal error occurred: x");
        let json = |end: End| serde_json::from_slice::<Value>(&status(&end, true)).unwrap();
        assert_eq!(json(End::Exited(0))["status"], "Success");
        let three = json(End::Exited(3));
        assert_eq!((&three["status"], &three["reason"]), (&json!("Failure"), &json!("NonZeroExitCode")));
        assert_eq!(three["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
        assert_eq!(json(End::Failed("x".into()))["reason"], "InternalError");
    }

    #[test]
    fn sizes_come_one_after_the_other() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(b"{\"Width\":80,"), None);
        assert_eq!(sizes.push(b"\"Height\":24}\n{\"Width\":100,\"Height\":30}\n"), Some(Input::Resize(100, 30)));
        assert_eq!(sizes.push(b"{}"), None);
        assert_eq!(sizes.push(&[b'x'; 10_000]), None);
        assert!(sizes.0.len() <= MAX_SIZE);
    }
}
