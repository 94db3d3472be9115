//! The agents' QUIC endpoint: joins, sessions, what each node is to run, what it reports, and streams to it.
