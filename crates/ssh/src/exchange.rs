//! The key exchange methods.
