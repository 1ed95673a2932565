//! Files through a node with the clients that people use, each compared by hash.
//!
//! `POSTERN_FILE_BYTES` and `POSTERN_FILE_COUNT` make the large file larger and the small ones more than fits into a test
//! run: 5368709120 and 100000 are the full measure.

#[path = "../support/mod.rs"]
mod support;

mod lftp;
mod python;
mod rsync;
mod scp;
mod sftp;
mod site;
mod sshfs;
