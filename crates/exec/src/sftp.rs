//! The built-in SFTP server: protocol version 3 (draft-ietf-secsh-filexfer-02, as OpenSSH speaks it) with the OpenSSH
//! extensions that clients use.
//!
//! It runs as the user, in a process of that user, on standard input and output. So it decides nothing about who may
//! read what: the kernel does. It must not trust a byte of its input (the parser is [`protocol`], separate and total),
//! and everything it keeps for a client is bounded.

mod attributes;
mod directory;
mod extension;
mod files;
mod frames;
mod handles;
mod longname;
mod paths;
pub mod protocol;
mod reply;
mod server;
mod status;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use frames::Frames;
use server::Server;

/// The largest packet in either direction, its length field not counted; the figure of OpenSSH.
pub const MAX_PACKET: usize = 256 * 1024;
/// The most bytes of file content in one packet; the rest is room for the other fields.
pub(crate) const MAX_DATA: usize = MAX_PACKET - 1024;
/// Replies are written once this many bytes wait, or when no further request is at hand. One default pipe full.
const FLUSH_AT: usize = 64 * 1024;

/// Serves standard input and output until the client has finished; the result is the session's exit code.
pub fn serve_stdio() -> u8 {
    // Otherwise /proc/self/mem would let a client that may only transfer files run code of its own.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    match serve_descriptors(io::stdin().as_fd(), io::stdout().as_fd()) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sftp: {error}");
            1
        }
    }
}

/// The library's own standard input and output buffer by line, which costs a copy and a write per packet.
fn serve_descriptors(input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<()> {
    serve(File::from(input.try_clone_to_owned()?), File::from(output.try_clone_to_owned()?))
}

/// Serves until the end of the input. An error means that input or output failed, or that the input was not SFTP.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut frames = Frames::new();
    let mut server = Server::new();
    let mut replies = Vec::new();
    loop {
        while let Some(packet) = frames.next_packet()? {
            server.handle(packet, &mut replies)?;
            if replies.len() >= FLUSH_AT {
                flush(&mut replies, &mut output)?;
            }
        }
        flush(&mut replies, &mut output)?;
        if !frames.fill(&mut input)? {
            return Ok(());
        }
    }
}

fn flush(replies: &mut Vec<u8>, output: &mut impl Write) -> io::Result<()> {
    output.write_all(replies)?;
    replies.clear();
    output.flush()
}
