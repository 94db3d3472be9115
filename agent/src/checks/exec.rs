//! A command in a container.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{Answer, MAX_ANSWER, Target};
use crate::podman::frames::Demux;
use crate::podman::{Connection, ExecSpec, Podman, Result};

/// Podman notes the exit code a moment after the output has ended.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Asking gets rarer until this pause.
const ASK_AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// Runs a command; one that takes too long is killed.
pub(super) async fn run(target: Target<'_>, command: &[String], within: Duration) -> Answer {
    let Target { podman, id, .. } = target;
    let spec = ExecSpec { command: command.to_vec(), stdin: false, stdout: true, stderr: true, tty: false };
    let session = match podman.create_exec(id, &spec).await {
        Ok(session) => session,
        Err(error) => return Answer::Unknown(error.chain()),
    };
    match timeout(within, outcome(podman, &session)).await {
        Ok(Ok((0, _))) => Answer::Good,
        Ok(Ok((_, output))) => Answer::Bad(output),
        Ok(Err(error)) => Answer::Unknown(error.chain()),
        Err(_) => {
            if let Err(error) = podman.kill_exec(&session, true).await {
                tracing::debug!(error = error.chain(), session, "a command that took too long was not killed");
            }
            let words = command.join(" ");
            Answer::Bad(format!("command timed out: {words:?} timed out after {}s", within.as_secs()))
        }
    }
}

/// The exit code, and what the command wrote.
async fn outcome(podman: &dyn Podman, session: &str) -> Result<(i32, String)> {
    let connection = podman.start_exec(session, false).await?;
    let output = read(connection).await;
    let mut pause = ASK_EVERY;
    loop {
        let state = podman.inspect_exec(session).await?;
        if !state.running {
            return Ok((state.exit_code, String::from_utf8_lossy(&output).into_owned()));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ASK_AT_MOST_EVERY);
    }
}

/// The start of the output. A connection that breaks has ended.
async fn read(mut connection: Connection) -> Vec<u8> {
    let (mut buffer, mut demux, mut output) = (vec![0; 4096], Demux::default(), Vec::new());
    while let Ok(n @ 1..) = connection.read(&mut buffer).await {
        let mut rest = &buffer[..n];
        while let Ok(Some((_, piece))) = demux.piece(&mut rest) {
            let room = MAX_ANSWER.saturating_sub(output.len());
            output.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }
    output
}
