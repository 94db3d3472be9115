//! A container's log: bytes go straight from its file, or from Podman, to the hub, never faster than it reads.

use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{StreamExt, TryStreamExt, stream};
use skiff_shared::wire::stream::{LogsRequest, StreamReply};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::logfile::LogFile;
use super::reply;
use crate::podman::frames::Frames;
use crate::podman::{ByteStream, Listed, LogOptions, Podman, PodmanError, RunState};

/// A log that is followed is looked at at least so often: a line may come just before Podman begins to look for news.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Sends a container's log until its end. `pod_name` is what an error calls the pod.
///
/// # Errors
/// When the hub has gone away, or stopped reading.
pub async fn serve(
    podman: &dyn Podman,
    request: &LogsRequest,
    pod_name: &str,
    send: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    match open(podman, request, pod_name).await {
        Ok(Source::File(mut log, id)) => {
            reply(send, &StreamReply::Ok).await?;
            match id {
                Some(id) => follow(podman, &id, *log, send).await,
                None => copy_file(&mut log, send).await.map(drop),
            }
        }
        Ok(Source::Podman(chunks)) => {
            reply(send, &StreamReply::Ok).await?;
            copy(chunks, Lines::new(request), send).await
        }
        Err(refusal) => reply(send, &refusal).await,
    }
}

/// Where a log is read.
enum Source {
    /// In its file, to the end of the container of this id where it is followed.
    File(Box<LogFile>, Option<String>),
    /// From Podman, whose files this agent may not read.
    Podman(ByteStream),
}

async fn open(podman: &dyn Podman, request: &LogsRequest, pod_name: &str) -> Result<Source, StreamReply> {
    let failed = |e: &PodmanError| StreamReply::Failed(e.chain());
    let all = podman.list(Some(&request.pod)).await.map_err(|e| failed(&e))?;
    let container = choose(&all, request, pod_name).map_err(StreamReply::BadRequest)?;
    if container.state == RunState::Created {
        return Err(StreamReply::BadRequest(waiting(request, pod_name)));
    }
    let path = podman.inspect(&container.id).await.map_err(|e| failed(&e))?.log_path;
    let follow = request.follow && !request.previous;
    if let Ok(log) = LogFile::open(&path, request).await {
        return Ok(Source::File(Box::new(log), follow.then(|| container.id.clone())));
    }
    let options = LogOptions {
        follow,
        since_s: request.since_ms.map(|ms| ms.div_euclid(1000)),
        tail: request.tail_lines,
        // Asked for whenever lines have to be compared with a time; taken off again where nobody wants them.
        timestamps: request.timestamps || request.since_ms.is_some(),
    };
    podman.logs(&container.id, options).await.map(Source::Podman).map_err(|e| failed(&e))
}

/// The container whose log is meant.
fn choose<'a>(all: &'a [Listed], request: &LogsRequest, pod_name: &str) -> Result<&'a Listed, String> {
    let mut attempts: Vec<&Listed> =
        all.iter().filter(|c| !c.infra && c.labels.container == request.container).collect();
    attempts.sort_by_key(|c| std::cmp::Reverse(c.labels.attempt));
    let mut attempts = attempts.into_iter();
    let name = &request.container;
    if request.previous {
        let not_found = || format!("previous terminated container \"{name}\" in pod \"{pod_name}\" not found");
        let newest = attempts.next().ok_or_else(not_found)?;
        // While it waits to be restarted, the newest attempt is what `--previous` means only if it is not running.
        return attempts
            .next()
            .or(Some(newest).filter(|c| c.state == RunState::Exited && c.labels.attempt > 0))
            .ok_or_else(not_found);
    }
    attempts
        .find(|c| c.state != RunState::Created)
        .or_else(|| all.iter().find(|c| c.labels.container == *name))
        .ok_or_else(|| waiting(request, pod_name))
}

fn waiting(request: &LogsRequest, pod_name: &str) -> String {
    format!("container \"{}\" in pod \"{pod_name}\" is waiting to start: ContainerCreating", request.container)
}

/// What happens to each line on its way.
struct Lines {
    since_ms: Option<i64>,
    timestamps: bool,
    left: u64,
}

impl Lines {
    fn new(request: &LogsRequest) -> Self {
        Self {
            since_ms: request.since_ms,
            timestamps: request.timestamps,
            left: request.limit_bytes.unwrap_or(u64::MAX),
        }
    }

    /// The part of a line that is to be sent; empty for none.
    fn pass(&mut self, mut line: Bytes) -> Bytes {
        if self.since_ms.is_some() || self.timestamps {
            let end = line.iter().position(|b| *b == b' ').unwrap_or(0);
            let stamp = std::str::from_utf8(&line[..end]).ok().and_then(|s| s.parse::<jiff::Timestamp>().ok());
            // Podman's stamps are whole seconds: a line of the second in question is kept.
            let second = |ms: i64| ms.div_euclid(1000);
            if let (Some(stamp), Some(since)) = (stamp, self.since_ms)
                && stamp.as_second() < second(since)
            {
                return Bytes::new();
            }
            if stamp.is_some() && !self.timestamps {
                line.advance(end + 1);
            }
        }
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(line.len());
        line.truncate(take);
        self.left -= take as u64;
        line
    }
}

/// Copies a log as it is written until the container ends. Podman's own stream of new lines tells when to look again, and
/// when the end has come.
async fn follow(
    podman: &dyn Podman,
    id: &str,
    mut log: LogFile,
    send: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let only_news = LogOptions { follow: true, tail: Some(0), ..LogOptions::default() };
    // Podman does not answer before there is something to tell.
    let mut news = pin!(stream::once(podman.logs(id, only_news)).try_flatten());
    let mut goes_on = true;
    while copy_file(&mut log, send).await? && goes_on {
        // What came between the last look and the end is still to be read.
        match timeout(LOOK_AGAIN, news.next()).await {
            Ok(Some(Ok(_))) | Err(_) => {}
            Ok(Some(Err(_)) | None) => goes_on = false,
        }
    }
    Ok(())
}

/// Copies a log as far as it is written; whether more may be sent.
async fn copy_file(log: &mut LogFile, send: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<bool> {
    while let Some(piece) = log.next().await? {
        send.write_all(&piece).await?;
        if log.is_full() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies until the container ends, the limit is reached or the reader goes away. Each chunk waits for the reader.
async fn copy(mut chunks: ByteStream, mut lines: Lines, send: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut frames = Frames::default();
    while let Some(chunk) = chunks.next().await {
        frames.push(&chunk.map_err(std::io::Error::other)?);
        while let Some(line) = frames.next_frame().map_err(std::io::Error::other)? {
            let line = lines.pass(line);
            send.write_all(&line).await?;
            if lines.left == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}
