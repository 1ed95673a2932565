//! The SSH transport: TLS, one question, one answer, then the node's SSH bytes (one round trip after TLS).

pub mod frame;
