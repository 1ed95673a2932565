//! The built-in SFTP server: protocol version 3 (draft-ietf-secsh-filexfer-02, as OpenSSH speaks it) with OpenSSH's
//! extensions.
//!
//! It runs as the user, in a process of that user, on standard input and output. So it decides nothing about who may
//! read what: the kernel does. It must not trust a byte of its input (the parser is [`protocol`], separate and total),
//! and everything it keeps for a client is bounded. What it does for the client it tells the node ([`record`]), before
//! the client hears of it.

mod attributes;
mod audit;
mod copy;
mod directory;
mod extension;
mod files;
mod frames;
mod handles;
mod longname;
mod output;
mod paths;
pub mod protocol;
pub mod record;
mod reply;
mod server;
mod status;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use frames::Frames;
use output::Output;
use server::Server;

use crate::sys;

/// The largest packet in either direction, its length field not counted; the figure of OpenSSH.
pub const MAX_PACKET: usize = 256 * 1024;
/// The most bytes of file content in one packet; the rest is room for the other fields.
pub(crate) const MAX_DATA: usize = MAX_PACKET - 1024;
/// Replies are written once this many bytes wait, or when no further request is at hand. One default pipe full.
const FLUSH_AT: usize = 64 * 1024;
/// What the pipes to the client should hold, so that neither side stands still while the other works.
const PIPE: i32 = 256 * 1024;

/// Serves standard input and output until the client has finished, putting what it does down in `records`; the result is
/// the session's exit code.
pub fn serve_stdio(records: UnixStream) -> u8 {
    // A client that goes away is an end of input, which is met in order: what was done is told in full.
    sys::files::ignore_hang_ups();
    // Otherwise /proc/self/mem would let a client that may only transfer files run code of its own.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    match serve_descriptors(io::stdin(), io::stdout(), records) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sftp: {error}");
            1
        }
    }
}

/// The library's own standard input and output buffer by line, which costs a copy and a write per packet.
fn serve_descriptors(input: impl AsFd, output: impl AsFd, records: impl Write) -> io::Result<()> {
    for pipe in [input.as_fd(), output.as_fd()] {
        // What is no pipe, or may not grow, stays as it is.
        let _ = sys::files::enlarge_pipe(pipe, PIPE);
    }
    let own =
        |descriptor: &dyn AsFd| Ok::<_, io::Error>(File::from(descriptor.as_fd().try_clone_to_owned()?));
    serve(own(&input)?, own(&output)?, records)
}

/// Serves until the end of the input. An error means that input or output failed, that the input was not SFTP, or that
/// nobody takes the records: what cannot be recorded is not served.
pub fn serve(input: impl Read, mut output: impl Write, records: impl Write) -> io::Result<()> {
    let (mut server, mut replies) = (Server::new(records), Output::default());
    let served = converse(input, &mut output, &mut server, &mut replies);
    // What came before the mistake is answered.
    let flushed = if served.is_err() { replies.flush(&mut output) } else { Ok(()) };
    served.and(flushed).and(server.conclude())
}

fn converse(
    mut input: impl Read,
    output: &mut impl Write,
    server: &mut Server<impl Write>,
    replies: &mut Output,
) -> io::Result<()> {
    let mut frames = Frames::new();
    loop {
        while let Some(packet) = frames.next_packet()? {
            server.handle(packet, replies)?;
            if replies.len() >= FLUSH_AT {
                replies.flush(output)?;
            }
        }
        replies.flush(output)?;
        if !frames.fill(&mut input)? {
            return Ok(());
        }
    }
}
