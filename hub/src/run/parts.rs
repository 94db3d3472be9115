//! The tasks that make up a running hub, and how they end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::RunError;

/// How long parts may take to end once they are asked to. systemd kills after 90 s by default; clients that hold a
/// watch open do not need that long.
const GRACE: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// All parts of a hub.
#[derive(Debug, Default)]
pub(super) struct Parts {
    tasks: JoinSet<(&'static str, Result<(), BoxError>)>,
    stop: watch::Sender<bool>,
}

impl Parts {
    /// Turns true when the hub stops. Each part ends soon after.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Starts a part, which is to run until [`Parts::stopped`].
    pub(super) fn spawn<E: Into<BoxError>>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, part.await.map_err(Into::into)) });
    }

    /// Starts a part that cannot fail.
    pub(super) fn spawn_sure(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            (name, Ok(()))
        });
    }

    /// Completes when the first part ends, which none should. Cancel-safe.
    pub(super) async fn failure(&mut self) -> RunError {
        match self.tasks.join_next().await {
            Some(Ok((part, Err(source)))) => RunError::Part { part, source },
            Some(Ok((part, Ok(())))) => RunError::Ended { part },
            Some(Err(error)) => RunError::Part { part: "hub", source: error.into() },
            None => std::future::pending().await,
        }
    }

    /// Asks every part to end and waits for them, but no longer than [`GRACE`].
    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok((part, Err(error))) = ended {
                    tracing::warn!(part, %error, "failed while stopping");
                }
            }
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            tracing::warn!("some parts did not end in time and are dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[tokio::test]
    async fn the_first_part_that_ends_is_the_failure() {
        let mut parts = Parts::default();
        let mut stopped = parts.stopped();
        parts.spawn("link", async move {
            // A receiver whose sender is gone counts as stopped too.
            let _ = stopped.wait_for(|stop| *stop).await;
            Ok::<_, io::Error>(())
        });
        parts.spawn("API server", async { Err(io::Error::other("address in use")) });
        let failure = parts.failure().await;
        assert!(matches!(&failure, RunError::Part { part: "API server", .. }), "{failure}");
        parts.stop().await;
    }

    #[tokio::test]
    async fn an_early_end_without_error_is_a_failure_too() {
        let mut parts = Parts::default();
        parts.spawn("scheduler", async { Ok::<_, io::Error>(()) });
        assert_eq!(parts.failure().await.to_string(), "the scheduler ended unexpectedly");
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_waits_for_parts_but_not_for_ever() {
        let mut parts = Parts::default();
        let (done, finished) = tokio::sync::oneshot::channel();
        let mut stopped = parts.stopped();
        parts.spawn("orderly", async move {
            let _ = stopped.wait_for(|stop| *stop).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            done.send(()).map_err(|()| io::Error::other("nobody waits"))
        });
        parts.spawn("stuck", std::future::pending::<Result<(), io::Error>>());
        let start = tokio::time::Instant::now();
        parts.stop().await;
        assert_eq!(start.elapsed(), GRACE);
        finished.await.unwrap();
    }
}
