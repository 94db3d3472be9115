//! Port-forward over WebSocket: as a tunnel for SPDY (kubectl since 1.31), or by channels for ports that are known
//! beforehand (client libraries).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::channels::{Messages, send};
use super::forward::{self, Forwarder, Remote};
use crate::api::websocket::{Opcode, Reader, Writer};

/// What a WebSocket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// SPDY frames, wherever messages are cut.
    Spdy,
    /// Two channels for each port: its bytes and its errors.
    Channels {
        /// See [`super::channels::Protocol`].
        base64: bool,
    },
}

/// The subprotocols.
pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[
    ("SPDY/3.1+portforward.k8s.io", Protocol::Spdy),
    ("v4.channel.k8s.io", DEFAULT),
    ("v4.base64.channel.k8s.io", Protocol::Channels { base64: true }),
];

/// What clients speak that name no subprotocol.
pub(super) const DEFAULT: Protocol = Protocol::Channels { base64: false };

/// Most bytes on their way through a tunnel, each direction.
const TUNNEL: usize = 32 * 1024;

/// Pieces of a connection (16 KiB at most) that wait for its pod.
const WAITING: usize = 4;

/// Serves a connection that carries SPDY.
pub(super) async fn spdy(io: impl AsyncRead + AsyncWrite + Send + 'static, forwarder: Arc<Forwarder>) {
    let (read, write) = tokio::io::split(io);
    let writer = Writer::new(write);
    let (near, far) = tokio::io::duplex(TUNNEL);
    let (far_read, far_write) = tokio::io::split(far);
    tokio::join!(
        forward::spdy(near, forwarder),
        unwrap(Reader::new(read, writer.clone()), far_write),
        wrap(far_read, writer),
    );
}

/// Takes bytes out of messages until the client is gone.
async fn unwrap(mut reader: Reader<impl AsyncRead + Unpin>, mut to: tokio::io::WriteHalf<DuplexStream>) {
    while let Ok(Some((_, _, _, bytes))) = reader.piece().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    drop(to.shutdown().await);
}

/// Puts bytes into messages until the end.
async fn wrap(mut from: tokio::io::ReadHalf<DuplexStream>, writer: Writer) {
    let mut buffer = vec![0; TUNNEL / 2];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if writer.message(Opcode::Binary, &[&buffer[..n]]).await.is_err() {
            return;
        }
    }
    // The client may be gone already.
    drop(writer.close().await);
    drop(writer.shutdown().await);
}

/// Serves a connection of channels: each port is connected to once, at the start.
pub(super) async fn channels(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    forwarder: Arc<Forwarder>,
    ports: &[u16],
    base64: bool,
) {
    let (read, write) = tokio::io::split(io);
    let writer = Writer::new(write);
    let mut messages = Messages::new(Reader::new(read, writer.clone()), base64);
    let (mut inputs, mut resets, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
    for (index, port) in (0_u8..).zip(ports.iter().copied()) {
        let ((input, from_client), (reset, wants_reset)) = (mpsc::channel(WAITING), oneshot::channel());
        inputs.push(input);
        resets.push(reset);
        let remote = PortChannels { writer: writer.clone(), base64, data: 2 * index };
        let forwarder = forwarder.clone();
        tasks.spawn(async move {
            remote.announce(port).await?;
            forwarder.carry(port, from_client, &remote, wants_reset).await
        });
    }
    tokio::select! {
        () = distribute(&mut messages, &inputs) => {}
        () = async { while tasks.join_next().await.is_some() {} } => {}
    }
    tasks.shutdown().await;
    drop(writer.close().await);
    drop(writer.shutdown().await);
}

async fn distribute(messages: &mut Messages<impl AsyncRead + Unpin>, inputs: &[mpsc::Sender<Bytes>]) {
    while let Ok(Some((channel, bytes))) = messages.next().await {
        let input = inputs.get(usize::from(channel / 2)).filter(|_| channel % 2 == 0 && !bytes.is_empty());
        if let Some(input) = input {
            // A connection that is over takes no more.
            drop(input.send(bytes).await);
        }
    }
}

struct PortChannels {
    writer: Writer,
    base64: bool,
    data: u8,
}

impl PortChannels {
    /// Both channels begin with their port.
    async fn announce(&self, port: u16) -> io::Result<()> {
        for channel in [self.data, self.data + 1] {
            send(&self.writer, self.base64, channel, &port.to_le_bytes()).await?;
        }
        Ok(())
    }
}

impl Remote for PortChannels {
    async fn data(&self, bytes: &[u8]) -> io::Result<()> {
        send(&self.writer, self.base64, self.data, bytes).await
    }

    /// Channels have no end of their own.
    async fn end(&self) -> io::Result<()> {
        Ok(())
    }

    async fn over(&self, error: Option<&str>) -> io::Result<()> {
        match error {
            Some(text) => send(&self.writer, self.base64, self.data + 1, text.as_bytes()).await,
            None => Ok(()),
        }
    }
}
