//! Starts a session on this host the way the node does, and connects it to this program's own input and output:
//!
//! ```text
//! local_session [--pty] [--helper PATH] [--env NAME=VALUE]... [--trusted NAME=VALUE]... [--peer ADDRESS] [--user-env]
//!               [--pam SERVICE [--pam-env NAME=VALUE]...] LOGIN shell|sftp|exec COMMAND
//! ```
//!
//! For trying things out and for the tests (`sftp -D` runs it as its server). It exits as the session did; after a
//! signal its name goes to standard error and the code is 255.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use exec::{
    Exit, Launch, Limits, Pam, Pty, Running, SessionIo, SessionRequest, TerminalModes, WindowSize, spawn,
};
use rustix::io::ioctl_fionbio;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    let Some((helper, mut request)) = parse(std::env::args().skip(1)) else {
        eprintln!("usage: local_session [options] LOGIN shell|sftp|exec COMMAND");
        return ExitCode::from(2);
    };
    request.limits = Limits::capture();
    // As a node does for itself, and a session must not notice.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
    let running = spawn(&helper, &request).and_then(|spawned| spawned.started(Duration::from_secs(30)));
    match running {
        Ok(running) => relay(running),
        Err(error) => {
            eprint!("Failed to launch: {error}.\r\n");
            ExitCode::from(255)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<(PathBuf, SessionRequest)> {
    let mut helper = std::env::current_exe().ok()?.parent()?.parent()?.join("session-exec");
    let mut request = SessionRequest::new("", Launch::LoginShell);
    let login = loop {
        let variable = |text: Option<String>| {
            let (name, value) = text.as_deref()?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        match args.next()?.as_str() {
            "--helper" => helper = args.next()?.into(),
            "--env" => request.client_env.push(variable(args.next())?),
            "--trusted" => request.trusted_env.push(variable(args.next())?),
            "--peer" => request.peer = Some(args.next()?.parse().ok()?),
            "--user-env" => request.user_env = true,
            "--pam" => request.pam = Some(Pam { service: args.next()?, environment: Vec::new() }),
            "--pam-env" => request.pam.as_mut()?.environment.push(variable(args.next())?),
            "--pty" => {
                let size = WindowSize { columns: 101, rows: 37, width_pixels: 0, height_pixels: 0 };
                // Echo off and no newline translation, so that what comes back is what was written.
                let modes = TerminalModes::from_pairs([(53, 0), (70, 0)]);
                request.pty = Some(Pty { term: "xterm".into(), size, modes });
            }
            login => break login.to_owned(),
        }
    };
    request.login = login;
    request.launch = match args.next()?.as_str() {
        "shell" => Launch::LoginShell,
        "sftp" => Launch::Sftp,
        "exec" => Launch::Command(args.next()?.into_bytes()),
        _ => return None,
    };
    Some((helper, request))
}

fn relay(running: Running) -> ExitCode {
    let Running { session, io, started: _ } = running;
    let outputs = match io {
        SessionIo::Pipes { stdin, stdout, stderr, records } => {
            if let Some(records) = records {
                thread::spawn(move || copy(blocking(records), io::sink()));
            }
            pump_in_background(own(0), blocking(stdin));
            let errors = thread::spawn(move || copy(blocking(stderr), own(2)));
            copy(blocking(stdout), own(1));
            errors
        }
        SessionIo::Pty { master } => {
            let Ok(writer) = master.try_clone() else { return ExitCode::from(255) };
            pump_in_background(own(0), blocking(writer));
            thread::spawn(move || copy(blocking(master), own(1)))
        }
        // Nothing here asks for it.
        SessionIo::Sockets { .. } => return ExitCode::from(255),
    };
    let _ = outputs.join();
    match session.wait() {
        Ok(Exit::Code(code)) => ExitCode::from(code),
        Ok(Exit::Signal { name, core_dumped }) => {
            eprintln!("signal {name} core_dumped={core_dumped}");
            ExitCode::from(255)
        }
        Err(error) => {
            eprintln!("cannot wait for the session: {error}");
            ExitCode::from(255)
        }
    }
}

/// One of this program's own three streams, without the library's line buffer in between.
fn own(number: i32) -> File {
    let fd = match number {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        _ => io::stderr().as_fd().try_clone_to_owned(),
    };
    File::from(fd.expect("the standard streams are open"))
}

fn blocking(fd: OwnedFd) -> File {
    let _ = ioctl_fionbio(&fd, false);
    File::from(fd)
}

fn pump_in_background(input: impl Read + Send + 'static, output: impl Write + Send + 'static) {
    thread::spawn(move || copy(input, output));
}

fn copy(mut input: impl Read, mut output: impl Write) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = input.read(&mut buffer) {
        if output.write_all(&buffer[..count]).and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}
