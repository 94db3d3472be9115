//! Port-forward: connections of a client, each carried to the pod on a stream of its own; and SPDY/3.1 as the client's
//! protocol.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use skiff_shared::ids::PodUid;
use skiff_shared::wire::stream::{PortForwardRequest, StreamRequest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::api::logs::{NodeStream, NodeStreams};
use crate::api::spdy::{Frame, Headers, Reader, Reset, Writer};

/// Pieces of a connection (16 KiB at most) that wait for its pod; then the client's connection is not read on.
const WAITING: usize = 4;

/// Most bytes taken from a pod at a time.
const CHUNK: usize = 16 * 1024;

/// Most connections of one client at a time, those included whose streams are not both there.
const MAX_CONNECTIONS: usize = 64;

/// Where connections go.
pub(super) struct Forwarder {
    pub(super) streams: Arc<dyn NodeStreams>,
    pub(super) node: String,
    pub(super) pod: PodUid,
    pub(super) name: String,
}

/// The client's end of one connection.
pub(super) trait Remote: Send + Sync {
    /// Sends bytes; waits until the client takes them.
    fn data(&self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
    /// The pod sends no more.
    fn end(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// The connection is over, by this error where there is one.
    fn over(&self, error: Option<&str>) -> impl Future<Output = io::Result<()>> + Send;
}

impl Forwarder {
    /// Carries one connection to its end, or until `reset` (sent, or dropped by the client's protocol ending).
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn carry(
        &self,
        port: u16,
        from_client: mpsc::Receiver<Bytes>,
        remote: &impl Remote,
        reset: oneshot::Receiver<()>,
    ) -> io::Result<()> {
        let request = StreamRequest::PortForward(PortForwardRequest { pod: self.pod.clone(), port });
        let error = match self.streams.open(&self.node, request).await {
            Ok(node) => {
                tokio::select! {
                    carried = both_ways(node, from_client, remote) => carried?,
                    _ = reset => {}
                }
                None
            }
            Err(error) => {
                Some(format!("error forwarding port {port} to pod {}, uid {}: {error}", self.name, self.pod.as_str()))
            }
        };
        remote.end().await?;
        remote.over(error.as_deref()).await
    }
}

/// Errors are the client's; a pod or node that breaks off only ends the connection.
async fn both_ways(node: NodeStream, mut from_client: mpsc::Receiver<Bytes>, remote: &impl Remote) -> io::Result<()> {
    let NodeStream { mut send, mut recv } = node;
    let up = async {
        while let Some(bytes) = from_client.recv().await {
            if send.write_all(&bytes).await.is_err() {
                return;
            }
        }
        drop(send.shutdown().await);
    };
    let down = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(n @ 1..) = recv.read(&mut buffer).await {
            remote.data(&buffer[..n]).await?;
        }
        Ok(())
    };
    // A pod that has said all may still listen, but hardly any does: kubectl too takes this for the end.
    let up = async {
        up.await;
        std::future::pending::<io::Result<()>>().await
    };
    tokio::select! {
        ended = down => ended,
        never = up => never,
    }
}

/// Serves a SPDY connection to its end. Each of its connections is a pair of streams with one request id.
pub(super) async fn spdy(io: impl AsyncRead + AsyncWrite + Send + 'static, forwarder: Arc<Forwarder>) {
    let (read, write) = tokio::io::split(io);
    let writer = Writer::new(write);
    let mut server = Server {
        forwarder,
        writer: writer.clone(),
        pairs: HashMap::new(),
        running: HashMap::new(),
        tasks: JoinSet::new(),
        last: 0,
    };
    if let Err(error) = server.run(Reader::new(read)).await {
        tracing::debug!(%error, "a client of port-forward is gone");
    }
    // Connections end with their client.
    server.tasks.shutdown().await;
    drop(writer.close(server.last).await);
}

struct Server {
    forwarder: Arc<Forwarder>,
    writer: Writer,
    /// Streams whose other half is still to come, by request id.
    pairs: HashMap<String, Half>,
    /// Connections by their data stream.
    running: HashMap<u32, Running>,
    tasks: JoinSet<u32>,
    last: u32,
}

#[derive(Clone, Copy)]
struct Half {
    stream: u32,
    error: bool,
    port: u16,
}

struct Running {
    /// Gone once the client has ended its side.
    input: Option<mpsc::Sender<Bytes>>,
    reset: Option<oneshot::Sender<()>>,
}

struct Pair {
    writer: Writer,
    data: u32,
    error: u32,
}

impl Remote for Pair {
    async fn data(&self, bytes: &[u8]) -> io::Result<()> {
        self.writer.data(self.data, bytes, false).await
    }

    async fn end(&self) -> io::Result<()> {
        self.writer.data(self.data, &[], true).await
    }

    async fn over(&self, error: Option<&str>) -> io::Result<()> {
        self.writer.data(self.error, error.unwrap_or_default().as_bytes(), true).await
    }
}

impl Server {
    async fn run(&mut self, mut reader: Reader<impl AsyncRead + Unpin>) -> io::Result<()> {
        loop {
            // Reading frames is cancel safe.
            let frame = tokio::select! {
                frame = reader.frame() => frame?,
                Some(done) = self.tasks.join_next() => {
                    self.running.remove(&done.unwrap_or_default());
                    continue;
                }
            };
            match frame {
                Some(Frame::SynStream { stream, headers, .. }) => self.open(stream, &headers).await?,
                Some(Frame::Data { stream, bytes, fin }) => self.data(stream, bytes, fin).await,
                Some(Frame::Reset(stream)) => self.reset(stream),
                Some(Frame::Ping(id)) => self.writer.pong(id).await?,
                Some(Frame::GoAway) => {}
                None => return Ok(()),
            }
        }
    }

    async fn open(&mut self, stream: u32, headers: &Headers) -> io::Result<()> {
        let Some((id, half)) = half(stream, headers) else {
            return self.writer.reset(stream, Reset::Protocol).await;
        };
        if self.pairs.len() + self.running.len() >= MAX_CONNECTIONS {
            return self.writer.reset(stream, Reset::Refused).await;
        }
        self.last = stream;
        match self.pairs.remove(&id) {
            None => {
                self.pairs.insert(id, half);
            }
            Some(other) if other.error != half.error && other.port == half.port => self.start(other, half),
            Some(_) => return self.writer.reset(stream, Reset::Protocol).await,
        }
        self.writer.reply(stream).await
    }

    fn start(&mut self, one: Half, other: Half) {
        let (data, error) = if one.error { (other.stream, one.stream) } else { (one.stream, other.stream) };
        let (input, from_client) = mpsc::channel(WAITING);
        let (reset, wants_reset) = oneshot::channel();
        self.running.insert(data, Running { input: Some(input), reset: Some(reset) });
        let (forwarder, pair) = (self.forwarder.clone(), Pair { writer: self.writer.clone(), data, error });
        self.tasks.spawn(async move {
            if let Err(error) = forwarder.carry(one.port, from_client, &pair, wants_reset).await {
                tracing::debug!(%error, "a client of port-forward is gone");
            }
            data
        });
    }

    async fn data(&mut self, stream: u32, bytes: Bytes, fin: bool) {
        // Streams that are over, and error streams, are not listened to.
        let Some(running) = self.running.get_mut(&stream) else { return };
        if let Some(input) = running.input.as_ref().filter(|_| !bytes.is_empty()) {
            // A connection that takes no more is about to end.
            drop(input.send(bytes).await);
        }
        if fin {
            running.input = None;
        }
    }

    fn reset(&mut self, stream: u32) {
        self.pairs.retain(|_, half| half.stream != stream);
        if let Some(reset) = self.running.get_mut(&stream).and_then(|r| r.reset.take()) {
            // Nobody listens any more where the connection is over.
            let _ = reset.send(());
        }
    }
}

/// A stream's request id and what it is, by its headers.
fn half(stream: u32, headers: &Headers) -> Option<(String, Half)> {
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let error = match header("streamtype")? {
        "error" => true,
        "data" => false,
        _ => return None,
    };
    let port: u16 = header("port")?.parse().ok().filter(|p| *p > 0)?;
    // The first clients sent no ids, and made the data stream right after its error stream.
    let implied = || if error { stream } else { stream.wrapping_sub(2) }.to_string();
    let id = header("requestid").map_or_else(implied, str::to_owned);
    (stream != 0).then_some((id, Half { stream, error, port }))
}
