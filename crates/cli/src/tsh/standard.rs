//! The standard streams as bytes, for sessions and for other programs.

use crate::Failure;
use bytes::Bytes;
use std::io::{self, Read};
use std::os::fd::AsFd;
use tokio::sync::mpsc;

/// How much input is read at once; one channel packet.
const CHUNK: usize = 32 << 10;
/// Chunks of input that may wait to be sent.
const AHEAD: usize = 4;

/// A standard stream without the buffer of the library, which holds lines back.
pub(super) fn output(of: impl AsFd) -> Result<tokio::fs::File, Failure> {
    let owned = of.as_fd().try_clone_to_owned();
    let owned = owned.map_err(|error| Failure::new(format!("cannot use the standard streams: {error}")))?;
    Ok(tokio::fs::File::from_std(owned.into()))
}

/// Reads in a thread of its own: nothing else can wait for a terminal, and it must not be waited for at the end.
pub(super) fn input() -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; CHUNK];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}
