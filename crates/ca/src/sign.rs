//! Signing what was decided, and nothing else.

pub(crate) mod jwt;
pub(crate) mod ssh;
pub(crate) mod x509;
