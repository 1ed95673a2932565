//! Starts one session as one user, and is the only room with privilege in it.
//!
//! Two halves meet over one socket:
//!
//! - the **library half** ([`spawn()`], [`Spawned`], [`Session`]) runs in the node: it opens the pipes or the pty, starts
//!   the program `session-exec`, hands it a [`SessionRequest`] and three descriptors, and hears whether that worked;
//! - the **helper half** ([`helper`]) is that program: a small process of one thread which looks the account up,
//!   becomes that user for good, and then is the shell, the command, the SFTP server ([`sftp`]), or what opens
//!   sockets for a connection's forwards ([`sockets`]).
//!
//! This crate must not decide who may log in (the node holds the permit), must not speak SSH, must not link tokio, and
//! must not contain `unsafe` outside of its module `sys`.

pub mod cgroup;
pub mod environment;
pub mod exit;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod helper;
pub mod limits;
pub mod modes;
pub mod request;
pub mod service;
pub mod session;
pub mod sftp;
pub mod sockets;
pub mod spawn;
pub mod standing;
pub mod status;
#[allow(unsafe_code, reason = "the one place that talks to the C library; each block says why it is sound")]
mod sys;
pub mod wire;

pub use exit::{Exit, SessionSignal};
pub use limits::Limits;
pub use modes::TerminalModes;
pub use request::{Launch, Pam, Pty, RequestError, SessionRequest, WindowSize};
pub use session::Session;
pub use spawn::{Running, SessionIo, SpawnError, Spawned, Starting, resize, spawn};
pub use status::{Failure, FailureKind, Started};
pub use sys::files::enlarge_pipe;
