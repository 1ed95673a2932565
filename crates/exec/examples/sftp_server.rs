//! The SFTP server by itself, on standard input and output as `sftp-server` is, so that the two can be compared. Its
//! records go to standard error, which has to be a socket.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(records) => ExitCode::from(exec::sftp::serve_stdio(UnixStream::from(records))),
        Err(_) => ExitCode::FAILURE,
    }
}
