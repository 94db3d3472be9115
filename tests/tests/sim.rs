//! Hub and agents in one process on Podmans of memory only: what a cluster does, and what it survives.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "sim/failures.rs"]
mod failures;
#[path = "sim/random.rs"]
mod random;
#[path = "sim/workloads.rs"]
mod workloads;
