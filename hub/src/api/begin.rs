//! How a connection begins: its client must say in time in which protocol it speaks. Until then nothing else watches it;
//! afterwards HTTP has time-outs of its own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What opens an HTTP/2 connection; any other beginning is HTTP/1.1.
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose client has begun. What it has said is read once more, together with what follows: HTTP/1 takes
/// another 8 kB for a head that comes in two pieces, and keeps them for as long as the connection lasts.
#[derive(Debug)]
pub(crate) struct Begun<S> {
    inner: S,
    said: [u8; PREFACE.len()],
    /// How much of it is there, and how much of that was read again.
    length: usize,
    again: usize,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Reads until it is known how the client begins.
    ///
    /// # Errors
    /// Those of the connection.
    pub(crate) async fn read(mut inner: S) -> io::Result<Self> {
        let (mut said, mut length) = ([0; PREFACE.len()], 0);
        while length < PREFACE.len() && PREFACE.starts_with(&said[..length]) {
            match inner.read(&mut said[length..]).await? {
                0 => break,
                more => length += more,
            }
        }
        Ok(Self { inner, said, length, again: 0 })
    }

    /// Whether the client speaks HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.said == PREFACE
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.said[self.again..self.length];
        if rest.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let taken = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..taken]);
        self.again += taken;
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_a_client_says_is_looked_at_and_read_all_the_same() {
        for (pieces, is_http2) in [
            (vec!["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "more"], true),
            (vec!["PRI * HT", "TP/2.0\r\n\r\nSM\r\n\r\n"], true),
            (vec!["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"], false),
            (vec!["GET / HTTP/1.0\r\n\r\n"], false),
            (vec!["P", "OST /api/v1/namespaces/default/pods HTTP/1.1\r\n", "\r\n"], false),
            (vec!["PRI"], false),
            (vec![], false),
        ] {
            let (mut client, server) = tokio::io::duplex(1024);
            let sent = pieces.concat();
            let client = tokio::spawn(async move {
                for piece in pieces {
                    client.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            let mut begun = Begun::read(server).await.unwrap();
            assert_eq!(begun.is_http2(), is_http2, "{sent:?}");
            client.await.unwrap();
            let mut all = String::new();
            begun.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, sent);
        }
    }

    #[tokio::test]
    async fn what_came_with_the_beginning_comes_in_one_piece() {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(b"GET /api/v1/namespaces/default/pods HTTP/1.1\r\n\r\n").await.unwrap();
        let mut begun = Begun::read(server).await.unwrap();
        let mut buffer = [0; 100];
        assert_eq!(begun.read(&mut buffer).await.unwrap(), 48);
    }
}
