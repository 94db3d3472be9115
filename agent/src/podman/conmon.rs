//! Attaching to a container's main process through conmon's socket, as Podman itself does.
//!
//! Podman's own call is no use for it: it makes a container that has just ended ready to be started again, which
//! forgets its exit code (libpod `compat.AttachContainer`).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_seqpacket::UnixSeqpacket;

use super::frames::HEADER;

/// Most bytes of output in one packet; conmon reads no more at once.
const MAX_OUTPUT: usize = 8192;
/// Most bytes of input that are sent in one packet; conmon takes four times as many.
const MAX_INPUT: usize = 8192;

/// A connection to conmon, which looks like one to Podman: raw with a terminal, else in Podman's framing.
#[derive(Debug)]
pub(super) struct Attached {
    socket: UnixSeqpacket,
    raw: bool,
    /// A packet, behind the room that its frame's header takes beyond the packet's first byte.
    packet: Box<[u8]>,
    /// What of `packet` is still to be read.
    left: std::ops::Range<usize>,
}

impl Attached {
    /// Connects to the container whose bundle this directory is. `raw`: its main process has a terminal.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and [`ErrorKind::ConnectionRefused`] when the container has ended.
    pub(super) async fn open(bundle: &Path, raw: bool) -> io::Result<Self> {
        // The path of a socket is short; that of a bundle need not be.
        let directory = File::open(bundle)?;
        let socket = UnixSeqpacket::connect(format!("/proc/self/fd/{}/attach", directory.as_raw_fd())).await?;
        Ok(Self::new(socket, raw))
    }

    fn new(socket: UnixSeqpacket, raw: bool) -> Self {
        Self { socket, raw, packet: vec![0; HEADER + MAX_OUTPUT].into(), left: 0..0 }
    }

    /// Receives a packet: a byte for the stream (2 output, 3 error output), and what the process wrote. `false` when
    /// there will be no more.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let received = ready!(self.socket.poll_recv(cx, &mut self.packet[HEADER - 1..]))?.bytes_read();
        if received == 0 {
            return Poll::Ready(Ok(false));
        }
        let length = received - 1;
        self.left = if self.raw { HEADER..HEADER + length } else { 0..HEADER + length };
        let stream = self.packet[HEADER - 1].saturating_sub(1);
        let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        self.packet[..HEADER].copy_from_slice(&[stream, 0, 0, 0, a, b, c, d]);
        Poll::Ready(Ok(true))
    }
}

impl AsyncRead for Attached {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            if !ready!(self.receive(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
        let length = self.left.len().min(buf.remaining());
        buf.put_slice(&self.packet[self.left.start..][..length]);
        self.left.start += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Attached {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, &buf[..buf.len().min(MAX_INPUT)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.socket.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_seqpacket::UnixSeqpacketListener;

    use super::*;

    fn pair(raw: bool) -> (Attached, UnixSeqpacket) {
        let (near, far) = UnixSeqpacket::pair().unwrap();
        (Attached::new(near, raw), far)
    }

    #[tokio::test]
    async fn output_comes_as_podman_frames_it() {
        let sent: [&[u8]; 3] = [b"\x02", b"\x02out", b"\x03err"];
        for (raw, expected) in
            [(false, &b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x03err"[..]), (true, b"outerr")]
        {
            let (mut near, far) = pair(raw);
            for packet in sent {
                far.send(packet).await.unwrap();
            }
            drop(far);
            let mut read = Vec::new();
            near.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, expected, "raw {raw}");
        }
    }

    #[tokio::test]
    async fn input_is_cut_into_packets_and_has_an_end() {
        let (mut near, far) = pair(false);
        near.write_all(&[7; MAX_INPUT + 1]).await.unwrap();
        near.shutdown().await.unwrap();
        let mut buffer = [0; 4 * MAX_INPUT];
        for length in [MAX_INPUT, 1, 0] {
            assert_eq!(far.recv(&mut buffer).await.unwrap().bytes_read(), length);
        }
    }

    #[tokio::test]
    async fn the_socket_is_found_at_the_end_of_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("a".repeat(200));
        std::fs::create_dir(&bundle).unwrap();
        assert_eq!(Attached::open(&bundle, true).await.unwrap_err().kind(), ErrorKind::NotFound);
        let directory = File::open(&bundle).unwrap();
        let mut conmon =
            UnixSeqpacketListener::bind(format!("/proc/self/fd/{}/attach", directory.as_raw_fd())).unwrap();
        let mut near = Attached::open(&bundle, true).await.unwrap();
        conmon.accept().await.unwrap().send(b"\x02hello").await.unwrap();
        let mut read = [0; 5];
        near.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
    }
}
