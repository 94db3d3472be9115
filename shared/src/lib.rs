//! What the hub and the agents have in common: names, limits, the wire format, selectors, quantities and back-off.
//!
//! Everything here but `tls` and `telemetry` is pure: no tokio, no I/O, no clock. Time is an argument.

pub mod backoff;
pub mod ids;
pub mod limits;
pub mod pod;
pub mod quantity;
pub mod report;
pub mod selector;
pub mod telemetry;
pub mod tls;
pub mod version;
pub mod wire;
