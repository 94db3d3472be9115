//! Whether a controller gets its work done.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a controller may be at work without finishing anything: far longer than a pass and its writes take.
const STUCK: Duration = Duration::from_secs(60);

/// The progress of one controller, kept by its runner and read by health checks.
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    running: usize,
    /// When work began after a rest, or last got finished.
    progress: Instant,
}

impl Pulse {
    /// That of a controller that is at rest.
    pub fn new(name: &'static str) -> Self {
        Self { name, state: Mutex::new(State { running: 0, progress: Instant::now() }) }
    }

    /// Whose it is.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// # Errors
    /// For how long nothing got finished, when that is too long.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let still = state.progress.elapsed();
        if state.running == 0 || still < STUCK {
            return Ok(());
        }
        Err(format!("{} has been busy without progress for {}s", self.name, still.as_secs()))
    }

    pub(super) fn begin(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.running == 0 {
            state.progress = Instant::now();
        }
        state.running += 1;
    }

    pub(super) fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running -= 1;
        state.progress = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_never_ends_is_noticed() {
        let pulse = Pulse::new("scheduler");
        tokio::time::advance(STUCK * 2).await;
        assert_eq!(pulse.check(), Ok(()));
        pulse.begin();
        assert_eq!(pulse.check(), Ok(()));
        tokio::time::advance(STUCK).await;
        assert_eq!(pulse.check(), Err("scheduler has been busy without progress for 60s".into()));
        pulse.begin();
        pulse.end();
        assert_eq!(pulse.check(), Ok(()));
    }
}
