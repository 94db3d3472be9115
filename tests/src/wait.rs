//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks at `condition` until it gives a value; `Err` says what is still wrong.
///
/// # Errors
/// What was still wrong at the deadline.
pub fn poll<T>(deadline: Duration, mut condition: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = Instant::now() + deadline;
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() >= end => return Err(why),
            Err(_) => std::thread::sleep(INTERVAL),
        }
    }
}

/// [`poll`] for `seconds` that fails the test at the deadline.
///
/// # Panics
/// At the deadline, with `what` was waited for and what was still wrong.
#[track_caller]
pub fn wait_for<T>(seconds: u64, what: &str, condition: impl FnMut() -> Result<T, String>) -> T {
    match poll(Duration::from_secs(seconds), condition) {
        Ok(value) => value,
        Err(why) => panic!("waited {seconds} s for {what}, but {why}"),
    }
}

/// `Ok` when `holds`, else the explanation: for use in conditions.
///
/// # Errors
/// `why`, when it does not hold.
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}
