//! Exec and attach over WebSocket: messages that begin with the number of their channel.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use skiff_shared::wire::stream::Wanted;
use skiff_shared::wire::stream::channel::End;
use tokio::io::{AsyncRead, AsyncWrite};

use super::session::{Input, Sink, Sizes, Source, relay, status};
use crate::api::logs::NodeStream;
use crate::api::websocket::{Opcode, Reader, Writer};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Names a channel that the client closes, since v5.
const CLOSE: u8 = 255;

/// What the subprotocols differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protocol {
    /// Messages are text: the channel's digit, then base64.
    pub(super) base64: bool,
    /// The error channel carries a `Status`, since v4.
    json: bool,
    /// Input can be ended, since v5.
    close: bool,
}

/// The subprotocols.
pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[
    ("v5.channel.k8s.io", Protocol { base64: false, json: true, close: true }),
    ("v4.channel.k8s.io", Protocol { base64: false, json: true, close: false }),
    ("v4.base64.channel.k8s.io", Protocol { base64: true, json: true, close: false }),
    ("v3.channel.k8s.io", DEFAULT),
    ("v2.channel.k8s.io", DEFAULT),
    ("channel.k8s.io", DEFAULT),
    ("base64.channel.k8s.io", Protocol { base64: true, ..DEFAULT }),
];

/// The subprotocol of clients that name none.
pub(super) const DEFAULT: Protocol = Protocol { base64: false, json: false, close: false };

/// Serves a connection to its end.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    node: NodeStream,
    wanted: Wanted,
    protocol: Protocol,
) {
    let (read, write) = tokio::io::split(io);
    let writer = Writer::new(write);
    let messages = Messages::new(Reader::new(read, writer.clone()), protocol.base64);
    let sink = Outputs { writer, protocol };
    // Tells the client that all is well before there is any output.
    let lowest = if wanted.stdout {
        STDOUT
    } else if wanted.stderr {
        STDERR
    } else {
        ERROR
    };
    if sink.send(lowest, &[]).await.is_ok() {
        relay(node, Client { messages, sizes: Sizes::default(), close: protocol.close }, sink).await;
    }
}

/// Sends a message on a channel.
pub(super) async fn send(writer: &Writer, base64: bool, channel: u8, bytes: &[u8]) -> io::Result<()> {
    if base64 {
        let text = format!("{channel}{}", STANDARD.encode(bytes));
        writer.message(Opcode::Text, &[text.as_bytes()]).await
    } else {
        writer.message(Opcode::Binary, &[&[channel], bytes]).await
    }
}

/// Reads messages and their channels, in pieces as they come.
pub(super) struct Messages<R> {
    reader: Reader<R>,
    base64: bool,
    /// Channel of the message that is being read.
    channel: Option<u8>,
    /// Base64 digits that do not make a whole group yet.
    digits: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(super) fn new(reader: Reader<R>, base64: bool) -> Self {
        Self { reader, base64, channel: None, digits: Vec::new() }
    }

    /// The next bytes of a channel; `None` at the connection's end.
    pub(super) async fn next(&mut self) -> io::Result<Option<(u8, Bytes)>> {
        loop {
            let Some((_, first, last, mut bytes)) = self.reader.piece().await? else { return Ok(None) };
            if first {
                self.channel = None;
                self.digits.clear();
            }
            if self.channel.is_none() && !bytes.is_empty() {
                let number = bytes.get_u8();
                self.channel = Some(if self.base64 { number.wrapping_sub(b'0') } else { number });
            }
            let Some(channel) = self.channel else { continue };
            if self.base64 {
                bytes = self.decode(&bytes, last)?;
            }
            return Ok(Some((channel, bytes)));
        }
    }

    fn decode(&mut self, digits: &[u8], last: bool) -> io::Result<Bytes> {
        self.digits.extend_from_slice(digits);
        let whole = if last { self.digits.len() } else { self.digits.len() / 4 * 4 };
        let group: Vec<u8> = self.digits.drain(..whole).collect();
        STANDARD.decode(group).map(Bytes::from).map_err(io::Error::other)
    }
}

struct Client<R> {
    messages: Messages<R>,
    sizes: Sizes,
    close: bool,
}

impl<R: AsyncRead + Send + Unpin> Source for Client<R> {
    async fn next(&mut self) -> io::Result<Option<Input>> {
        loop {
            let Some((channel, bytes)) = self.messages.next().await? else { return Ok(None) };
            match channel {
                STDIN => return Ok(Some(Input::Stdin(bytes))),
                RESIZE => {
                    if let Some(input) = self.sizes.push(&bytes) {
                        return Ok(Some(input));
                    }
                }
                CLOSE if self.close && bytes[..] == [STDIN] => return Ok(Some(Input::EndOfStdin)),
                _ => {}
            }
        }
    }
}

struct Outputs {
    writer: Writer,
    protocol: Protocol,
}

impl Outputs {
    async fn send(&self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        send(&self.writer, self.protocol.base64, channel, bytes).await
    }
}

impl Sink for Outputs {
    async fn output(&mut self, stderr: bool, bytes: &[u8]) -> io::Result<()> {
        self.send(if stderr { STDERR } else { STDOUT }, bytes).await
    }

    async fn end(&mut self, end: &End) -> io::Result<()> {
        let status = status(end, self.protocol.json);
        if !status.is_empty() {
            self.send(ERROR, &status).await?;
        }
        self.writer.close().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }
}
