//! SPDY/3.1, as much of it as Kubernetes' streaming needs: a server that clients open streams to.
//!
//! Clients of Kubernetes (moby/spdystream) neither send nor mind window updates, so there is no flow control but the
//! connection's own: what is not taken is not read. `frame` and `headers` are pure and refuse what is out of bounds.

mod connection;
mod frame;
mod headers;

pub(crate) use connection::{Reader, Writer};
#[cfg(fuzzing)]
pub(crate) use frame::Decoder;
pub(crate) use frame::{Frame, Headers, Reset};

#[cfg(test)]
mod tests;
