//! Public keys, signatures, and the keys that make them.
