//! Wires every module together: the only one that knows all of them.
