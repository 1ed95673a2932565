//! Which side of a connection we are.

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The side that connects and proves who it is.
    Client,
    /// The side that shows a host key and decides.
    Server,
}
