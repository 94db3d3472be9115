//! Logging and how errors are printed, alike in both binaries.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends log lines to stderr: those of our own crates at `level` (`info` if it is none), those of libraries from
/// `warn` on unless `level` is `trace`. A second call has no effect.
pub fn init(level: &str) {
    let level: Level = level.parse().unwrap_or(Level::INFO);
    let libraries = if level == Level::TRACE { Level::TRACE } else { level.min(Level::WARN) };
    let filter = Targets::new().with_default(LevelFilter::from_level(libraries)).with_target("skiff", level);
    let lines =
        tracing_subscriber::fmt::layer().compact().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    // Only tests that run both binaries in one process come here twice.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}

/// Prints an error with its causes on one line: `cannot open x: permission denied`.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open x")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_gives_every_cause_once() {
        let error = Outer(io::Error::other("permission denied"));
        assert_eq!(Chain(&error).to_string(), "cannot open x: permission denied");
    }
}
