//! Everything that needs `unsafe`: calls into the C library that have no safe wrapper. Each function is small, checks
//! what it is given, and is safe to call; what must happen in which order is decided elsewhere ([`crate::helper`]).
//!
//! - `accounts`: the user and group databases, which are reached only through the C library's name service switch;
//! - `process`: signals, inherited descriptors, keyrings, and the user switch;
//! - `records`: who is logged in, for `who` and `last`;
//! - `files`: what no safe wrapper does with them;
//! - `pam`: the host's pluggable authentication modules;
//! - `clock`: local time for directory listings and greetings.

pub(crate) mod accounts;
pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod pam;
pub(crate) mod process;
pub(crate) mod records;
