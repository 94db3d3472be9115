//! Commands in containers, and attaching to their main processes.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skiff_shared::tls::io::{read_chunk, write_chunks};
use skiff_shared::wire::stream::channel::{Channel, End, MAX_CHUNK, parse_size};
use skiff_shared::wire::stream::{AttachRequest, ExecRequest, StreamReply, Wanted};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::{reply, running};
use crate::podman::frames::Demux;
use crate::podman::{Connection, ExecSpec, Podman, PodmanError, Terminal};

/// How often Podman is asked whether a command whose streams have ended has ended too, at first; then ever less often.
const ASK_EVERY: Duration = Duration::from_millis(20);
const ASK_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Time between two sizes of one terminal: of two that come at once, as kubectl sends them to attach, conmon may lose
/// the second.
const RESIZE_PAUSE: Duration = Duration::from_millis(100);

/// How long a command has after SIGHUP, once its client is gone.
const HANG_UP_GRACE: Duration = Duration::from_secs(3);

/// How much later than it happened Podman may date the end of a process, on a busy machine.
const EXIT_SEEN_WITHIN: Duration = Duration::from_secs(1);

/// How Podman tells, as if the process had said it, that conmon ended while input waited for the process.
const RESET: (&[u8], &[u8]) = (b"Error: read unixpacket ", b": connection reset by peer\n");

/// Runs a command for the hub.
///
/// # Errors
/// When the hub has gone away; the command is then killed.
pub(super) async fn exec(
    podman: &dyn Podman,
    request: &ExecRequest,
    send: &mut (impl AsyncWrite + Send + Unpin),
    recv: impl AsyncRead + Send + Unpin,
    gone: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let session = match prepare(podman, request).await {
        Ok(session) => session,
        Err(refusal) => return reply(send, &refusal).await,
    };
    reply(send, &StreamReply::Ok).await?;
    let wanted = request.wanted;
    let connection = match podman.start_exec(&session, wanted.tty).await {
        Ok(connection) => connection,
        Err(error) => return send.write_all(&not_run(&error).encode()).await,
    };
    let terminal = Terminal::Exec(&session);
    let relay = Relay { podman, terminal, wanted, raw: wanted.tty };
    let ended = tokio::select! {
        ended = run(&relay, connection, &session, send, recv) => ended,
        () = gone => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
    };
    if ended.is_err() {
        kill(podman, &session).await;
    }
    ended
}

async fn run(
    relay: &Relay<'_>,
    connection: Connection,
    session: &str,
    send: &mut (impl AsyncWrite + Send + Unpin),
    recv: impl AsyncRead + Send + Unpin,
) -> io::Result<()> {
    relay.run(connection, send, recv).await?;
    let end = match exit_code(relay.podman, session).await {
        Ok(code) => End::Exited(code),
        Err(error) => not_run(&error),
    };
    send.write_all(&end.encode()).await
}

/// Attaches the hub to a container's main process.
///
/// # Errors
/// When the hub has gone away.
pub(super) async fn attach(
    podman: &dyn Podman,
    request: &AttachRequest,
    send: &mut (impl AsyncWrite + Send + Unpin),
    recv: impl AsyncRead + Send + Unpin,
    gone: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let container = match running(podman, &request.pod, &request.container).await {
        Ok(container) => container,
        Err(refusal) => return reply(send, &refusal).await,
    };
    let opened = async {
        let inspected = podman.inspect(&container.id).await?;
        Ok((podman.attach(&container.id, &inspected).await?, inspected.tty))
    };
    let (connection, raw) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return reply(send, &StreamReply::Failed(PodmanError::chain(&error))).await,
    };
    reply(send, &StreamReply::Ok).await?;
    let attached = SystemTime::now();
    let relay = Relay { podman, terminal: Terminal::Container(&container.id), wanted: request.wanted, raw };
    let said = tokio::select! {
        ended = relay.run(connection, send, recv) => ended?,
        () = gone => return Err(io::ErrorKind::BrokenPipe.into()),
    };
    let late = !said && had_ended(podman, &container.id, attached).await;
    let end = if late { End::Failed("the container has ended".into()) } else { End::Exited(0) };
    send.write_all(&end.encode()).await
}

/// Whether a container's process had ended when it was attached to, which conmon does not refuse while it still has to
/// tell Podman. A kubelet does, and `kubectl run -i` then shows the log, where all is that the process said.
async fn had_ended(podman: &dyn Podman, id: &str, attached: SystemTime) -> bool {
    let latest = millis((attached + EXIT_SEEN_WITHIN).duration_since(UNIX_EPOCH).unwrap_or_default());
    let end = async {
        loop {
            let Ok(inspected) = podman.inspect(id).await else { return false };
            // The process id stays for a while.
            if inspected.finished_ms >= inspected.started_ms {
                return inspected.finished_ms.unsigned_abs() <= latest;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    tokio::time::timeout(EXIT_SEEN_WITHIN, end).await.unwrap_or(false)
}

fn is_reset(output: &[u8]) -> bool {
    output.starts_with(RESET.0) && output.ends_with(RESET.1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn prepare(podman: &dyn Podman, request: &ExecRequest) -> Result<String, StreamReply> {
    let container = running(podman, &request.pod, &request.container).await?;
    let Wanted { stdin, stdout, stderr, tty } = request.wanted;
    let spec = ExecSpec { command: request.command.clone(), stdin, stdout, stderr, tty };
    podman.create_exec(&container.id, &spec).await.map_err(|e| StreamReply::Failed(e.chain()))
}

fn not_run(error: &PodmanError) -> End {
    End::Failed(format!("error executing command in container: {}", error.chain()))
}

async fn exit_code(podman: &dyn Podman, session: &str) -> Result<i32, PodmanError> {
    let mut pause = ASK_EVERY;
    loop {
        let state = podman.inspect_exec(session).await?;
        if !state.running {
            return Ok(state.exit_code);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ASK_AT_MOST_EVERY);
    }
}

/// Ends a command whose client is gone: as a terminal that closes, then by force.
async fn kill(podman: &dyn Podman, session: &str) {
    let told = async {
        podman.kill_exec(session, false).await?;
        tokio::time::sleep(HANG_UP_GRACE).await;
        podman.kill_exec(session, true).await
    };
    match told.await {
        Ok(()) | Err(PodmanError::NotFound { .. }) => {}
        Err(error) => tracing::warn!(error = error.chain(), session, "a command whose client is gone was not killed"),
    }
}

/// What it takes to carry a process's streams.
struct Relay<'a> {
    podman: &'a dyn Podman,
    terminal: Terminal<'a>,
    wanted: Wanted,
    /// The process has a terminal: its output is one stream without frames.
    raw: bool,
}

impl Relay<'_> {
    /// Carries both ways until the process's output ends; `true` when there was any.
    async fn run(
        &self,
        connection: Connection,
        send: &mut (impl AsyncWrite + Send + Unpin),
        recv: impl AsyncRead + Send + Unpin,
    ) -> io::Result<bool> {
        let (output, input) = tokio::io::split(connection);
        let (newest, sizes) = watch::channel(None);
        tokio::select! {
            ended = self.output(output, send) => ended,
            ended = self.input(recv, input, &newest) => ended.and(Err(io::ErrorKind::BrokenPipe.into())),
            () = self.resize(sizes) => Ok(false),
        }
    }

    async fn output(
        &self,
        mut from: impl AsyncRead + Unpin,
        to: &mut (impl AsyncWrite + Send + Unpin),
    ) -> io::Result<bool> {
        let mut buffer = vec![0; MAX_CHUNK];
        let mut demux = Demux::default();
        let mut said = false;
        loop {
            // A connection that breaks has ended; how the process ended is asked for separately.
            let Ok(n @ 1..) = from.read(&mut buffer).await else { return Ok(said) };
            let mut rest = &buffer[..n];
            while let Some((stream, piece)) = self.piece(&mut demux, &mut rest)? {
                if is_reset(piece) {
                    continue;
                }
                said = true;
                match stream {
                    2 | 3 if self.wanted.stderr => write_chunks(to, Channel::Stderr, piece).await?,
                    1 if self.raw || self.wanted.stdout => write_chunks(to, Channel::Stdout, piece).await?,
                    _ => {}
                }
            }
        }
    }

    /// The next piece of what came, and the number of its stream.
    fn piece<'a>(&self, demux: &mut Demux, rest: &mut &'a [u8]) -> io::Result<Option<(u8, &'a [u8])>> {
        if self.raw {
            let all = std::mem::take(rest);
            return Ok((!all.is_empty()).then_some((1, all)));
        }
        demux.piece(rest).map_err(io::Error::other)
    }

    /// Carries input until the hub ends its side.
    async fn input(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        size: &watch::Sender<Option<(u16, u16)>>,
    ) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut open = true;
        while let Some(channel) = read_chunk(&mut from, &mut buffer).await? {
            match channel {
                Channel::Stdin if !open => {}
                // A process that takes no more input goes on all the same.
                Channel::Stdin if buffer.is_empty() => {
                    open = false;
                    drop(to.shutdown().await);
                }
                Channel::Stdin => open = to.write_all(&buffer).await.is_ok(),
                Channel::Resize => {
                    size.send_replace(parse_size(&buffer));
                }
                Channel::Stdout | Channel::Stderr | Channel::End => {}
            }
        }
        Ok(())
    }

    /// Tells Podman the newest size whenever there is one, for ever.
    async fn resize(&self, mut sizes: watch::Receiver<Option<(u16, u16)>>) {
        while sizes.changed().await.is_ok() {
            let Some((columns, rows)) = *sizes.borrow_and_update() else { continue };
            if let Err(error) = self.podman.resize(self.terminal, columns, rows).await {
                // The process may just have ended.
                tracing::debug!(error = error.chain(), "a terminal was not resized");
            }
            tokio::time::sleep(RESIZE_PAUSE).await;
        }
        std::future::pending().await
    }
}
