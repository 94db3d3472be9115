//! Exponential back-off without a clock: how long to wait before the next try.

use std::time::Duration;

/// A doubling back-off with a ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub first: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Backoff {
    /// The delay after so many failures in a row (1 is the first): `first`, doubled for each further one, at most `max`.
    pub fn delay(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }

    /// [`Backoff::delay`] spread by `random` (0 to 1) over its upper half, so that many clients do not try in step.
    pub fn jittered(self, failures: u32, random: f64) -> Duration {
        self.delay(failures).mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_ceiling() {
        let b = Backoff { first: Duration::from_secs(10), max: Duration::from_secs(300) };
        let delays: Vec<u64> = (1..=7).map(|n| b.delay(n).as_secs()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(b.delay(u32::MAX), b.max);
        assert_eq!(b.jittered(1, 0.0), Duration::from_secs(5));
    }
}
