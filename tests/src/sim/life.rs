//! A part of the cluster on a runtime of its own, so that it can end as a process does.

use std::fmt;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

/// How long a dying runtime waits for writes to disk: files are locked until then.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Something that runs. Dropping it kills it.
pub(super) struct Life {
    ask: watch::Sender<bool>,
    /// `None` once it is killed.
    alive: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Life {
    /// Runs `body` on `runtime`; what `body` is given turns true when it is asked to end.
    pub(super) fn start<F>(runtime: Runtime, body: impl FnOnce(watch::Receiver<bool>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<(), String>>,
    {
        let (ask, asked) = watch::channel(false);
        let (alive, killed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let outcome = runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = killed => Ok(()),
                    outcome = body(asked) => outcome,
                }
            });
            // Drops all tasks where they stand, as a kill does.
            runtime.shutdown_timeout(LAST_WRITES);
            outcome
        });
        Self { ask, alive: Some(alive), thread: Some(thread) }
    }

    /// Asks it to end, as SIGTERM does, and waits until it has.
    ///
    /// # Panics
    /// When it failed.
    pub(super) fn stop(mut self) {
        self.ask.send_replace(true);
        self.join().expect("it ends in order");
    }

    /// Ends it without a chance to clean up, as SIGKILL does.
    pub(super) fn kill(self) {
        drop(self);
    }

    fn join(&mut self) -> Result<(), String> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err("it panicked".into()))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.alive = None;
        if let Err(why) = self.join() {
            eprintln!("a part of the cluster had ended: {why}");
        }
    }
}
