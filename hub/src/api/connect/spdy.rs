//! Exec and attach over SPDY/3.1: a stream each for input, outputs, errors and sizes.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use skiff_shared::wire::stream::Wanted;
use skiff_shared::wire::stream::channel::End;
use tokio::io::{AsyncRead, AsyncWrite};

use super::session::{Input, Sink, Sizes, Source, relay, status};
use crate::api::logs::NodeStream;
use crate::api::spdy::{Frame, Headers, Reader, Reset, Writer};

/// What the versions of the protocol differ in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protocol {
    /// The error stream carries a `Status`, since v4.
    json: bool,
    /// There is a stream for sizes, since v3.
    resize: bool,
}

/// The versions; all of them end input by ending its stream.
pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[
    ("v4.channel.k8s.io", Protocol { json: true, resize: true }),
    ("v3.channel.k8s.io", Protocol { json: false, resize: true }),
    ("v2.channel.k8s.io", Protocol { json: false, resize: false }),
    ("channel.k8s.io", DEFAULT),
];

/// The version of clients that name none.
pub(super) const DEFAULT: Protocol = Protocol { json: false, resize: false };

/// How long a client has to open its streams: the kubelet's own patience.
const OPEN: Duration = Duration::from_secs(30);

/// Most data that is kept for later while the client is still opening streams, in pieces of 16 KiB at most.
const MAX_EARLY: usize = 4;

/// Serves a connection to its end.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    node: NodeStream,
    wanted: Wanted,
    protocol: Protocol,
) {
    let (read, write) = tokio::io::split(io);
    let writer = Writer::new(write);
    let mut source = Client::new(Reader::new(read), writer.clone());
    match tokio::time::timeout(OPEN, source.open(wanted, protocol)).await {
        Ok(Ok(streams)) => relay(node, source, Outputs { writer, streams, json: protocol.json }).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client did not open its streams"),
        Err(_) => tracing::debug!("a client did not open its streams in time"),
    }
}

/// The numbers of a client's streams; 0 for those it has not.
#[derive(Debug, Clone, Copy, Default)]
struct Streams {
    error: u32,
    stdin: u32,
    stdout: u32,
    stderr: u32,
    resize: u32,
    last: u32,
}

impl Streams {
    fn slot(&mut self, headers: &Headers) -> Option<&mut u32> {
        let (_, kind) = headers.iter().find(|(name, _)| name == "streamtype")?;
        match kind.as_str() {
            "error" => Some(&mut self.error),
            "stdin" => Some(&mut self.stdin),
            "stdout" => Some(&mut self.stdout),
            "stderr" => Some(&mut self.stderr),
            "resize" => Some(&mut self.resize),
            _ => None,
        }
    }

    fn complete(&self, wanted: Wanted, protocol: Protocol) -> bool {
        let has = |wanted: bool, stream: u32| !wanted || stream != 0;
        has(true, self.error)
            && has(wanted.stdin, self.stdin)
            && has(wanted.stdout, self.stdout)
            && has(wanted.stderr, self.stderr)
            && has(wanted.tty && protocol.resize, self.resize)
    }
}

struct Client<R> {
    reader: Reader<R>,
    writer: Writer,
    streams: Streams,
    early: VecDeque<Frame>,
    sizes: Sizes,
    /// Input ended with the bytes that were given out last.
    ended: bool,
}

impl<R: AsyncRead + Send + Unpin> Client<R> {
    fn new(reader: Reader<R>, writer: Writer) -> Self {
        let (streams, early, sizes) = Default::default();
        Self { reader, writer, streams, early, sizes, ended: false }
    }

    /// Waits until the client has opened all streams that it announced.
    async fn open(&mut self, wanted: Wanted, protocol: Protocol) -> io::Result<Streams> {
        while !self.streams.complete(wanted, protocol) {
            match self.reader.frame().await?.ok_or(io::ErrorKind::UnexpectedEof)? {
                Frame::SynStream { stream, headers, .. } => self.accept(stream, &headers).await?,
                data @ Frame::Data { .. } if self.early.len() < MAX_EARLY => self.early.push_back(data),
                Frame::Data { .. } => return Err(io::Error::other("data before its stream")),
                Frame::Ping(id) => self.writer.pong(id).await?,
                Frame::Reset(_) | Frame::GoAway => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        Ok(self.streams)
    }

    async fn accept(&mut self, stream: u32, headers: &Headers) -> io::Result<()> {
        match self.streams.slot(headers) {
            Some(slot) if *slot == 0 && stream != 0 => {
                *slot = stream;
                self.streams.last = stream;
                self.writer.reply(stream).await
            }
            _ => self.writer.reset(stream, Reset::Protocol).await,
        }
    }
}

impl<R: AsyncRead + Send + Unpin> Source for Client<R> {
    async fn next(&mut self) -> io::Result<Option<Input>> {
        if std::mem::take(&mut self.ended) {
            return Ok(Some(Input::EndOfStdin));
        }
        loop {
            let early = self.early.pop_front();
            let frame = match early {
                Some(frame) => frame,
                None => match self.reader.frame().await? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            match frame {
                Frame::Data { stream, bytes, fin } if stream == self.streams.stdin => {
                    self.ended = fin;
                    return Ok(Some(Input::Stdin(bytes)));
                }
                Frame::Data { stream, bytes, .. } if stream == self.streams.resize => {
                    if let Some(input) = self.sizes.push(&bytes) {
                        return Ok(Some(input));
                    }
                }
                Frame::Reset(stream) if stream == self.streams.stdin => return Ok(Some(Input::EndOfStdin)),
                Frame::SynStream { stream, .. } => self.writer.reset(stream, Reset::Refused).await?,
                Frame::Ping(id) => self.writer.pong(id).await?,
                Frame::Data { .. } | Frame::Reset(_) | Frame::GoAway => {}
            }
        }
    }
}

struct Outputs {
    writer: Writer,
    streams: Streams,
    json: bool,
}

impl Sink for Outputs {
    async fn output(&mut self, stderr: bool, bytes: &[u8]) -> io::Result<()> {
        match if stderr { self.streams.stderr } else { self.streams.stdout } {
            0 => Ok(()),
            stream => self.writer.data(stream, bytes, false).await,
        }
    }

    async fn end(&mut self, end: &End) -> io::Result<()> {
        for stream in [self.streams.stdout, self.streams.stderr, self.streams.resize, self.streams.stdin] {
            if stream != 0 {
                self.writer.data(stream, &[], true).await?;
            }
        }
        self.writer.data(self.streams.error, &status(end, self.json), true).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.writer.close(self.streams.last).await
    }
}
