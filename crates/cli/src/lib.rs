//! The client programs: `tctl` for administrators, `tsh` for users.
//!
//! Each program is a folder of commands; what they share (how output looks, how failures are said, where the cluster
//! is) stands beside. Nothing here decides about access and nothing here links the server.

pub mod connection;
pub mod console;
pub mod documents;
pub mod escape;
mod failure;
pub mod manual;
pub mod reference;
pub mod secret_file;
pub mod tctl;
pub mod tsh;

pub use failure::{Failure, USAGE};
