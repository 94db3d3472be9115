//! WebSocket (RFC 6455), the server's side: no extensions, messages given out in pieces as they come.

mod connection;
mod frame;

pub(crate) use connection::{Reader, Writer, accept_key};
#[cfg(fuzzing)]
pub(crate) use frame::Decoder;
pub(crate) use frame::Opcode;

#[cfg(test)]
mod tests;
