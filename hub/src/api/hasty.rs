//! A connection whose client must begin in time: until it has said in which protocol it speaks, nothing else watches it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Length of what opens an HTTP/2 connection; any other beginning is HTTP/1.1.
const PREFACE: usize = 24;

/// Fails reads when the first bytes take too long. Afterwards HTTP has time-outs of its own.
#[derive(Debug)]
pub(crate) struct Hasty<S> {
    inner: S,
    /// Bytes that the client may still owe; 0 once it has begun.
    owed: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Hasty<S> {
    pub(crate) fn new(inner: S, time: Duration) -> Self {
        Self { inner, owed: PREFACE, deadline: Box::pin(sleep_until(Instant::now() + time)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hasty<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.owed = self.owed.saturating_sub(buffer.filled().len() - before);
        if polled.is_pending() && self.owed > 0 && self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not begin in time")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hasty<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // An answer means that the client has begun, however short its request was.
        self.owed = 0;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.owed = 0;
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
