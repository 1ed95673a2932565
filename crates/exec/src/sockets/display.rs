//! A display for programs of the user: a port on the loopback interface, and the entry in `.Xauthority` with which they
//! find in.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::keeper::Kept;
use super::{NewDisplay, Refusal, RefusalKind};

/// The port of display 0 (X11's own convention).
const FIRST_PORT: u16 = 6000;
/// Where hosts have it.
const PROGRAMS: [&str; 4] =
    ["/usr/bin/xauth", "/usr/local/bin/xauth", "/run/current-system/sw/bin/xauth", "/usr/X11R6/bin/xauth"];
/// How long `xauth` may take: it waits for others that write the file.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// What is made for one display: its listeners, what to remove later, and its name.
pub(super) type Made = (Vec<OwnedFd>, Kept, String);

/// Takes the first number that is free and tells `xauth` about it.
pub(super) fn listen(wanted: &NewDisplay, environment: &BTreeMap<String, String>) -> Result<Made, Refusal> {
    let (sockets, number) = bind(wanted.offset, wanted.most)?;
    let screen = wanted.screen;
    let name = format!("localhost:{number}.{screen}");
    // Programs look for a display of "localhost" under this name.
    let entry = format!("unix:{number}.{screen}");
    let mut environment = environment.clone();
    environment.insert("DISPLAY".to_owned(), name.clone());
    let authority = Authority { entry, environment };
    authority.add(&wanted.protocol, &wanted.cookie)?;
    Ok((sockets.into_iter().map(OwnedFd::from).collect(), Kept::display(authority), name))
}

fn bind(offset: u16, most: u16) -> Result<(Vec<TcpListener>, u16), Refusal> {
    for number in offset..=most {
        let Some(port) = FIRST_PORT.checked_add(number) else { break };
        let Ok(v4) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
            Ok(v6) => return Ok((vec![v4, v6], number)),
            // "localhost" would lead to somebody else.
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(_) => return Ok((vec![v4], number)),
        }
    }
    Err(refuse(format!("all displays from {offset} to {most} are in use on this host")))
}

/// One entry of the user's `.Xauthority`.
#[derive(Debug)]
pub(super) struct Authority {
    entry: String,
    environment: BTreeMap<String, String>,
}

impl Authority {
    fn add(&self, protocol: &str, cookie: &str) -> Result<(), Refusal> {
        let Self { entry, .. } = self;
        // On standard input: everybody can read the arguments of a program.
        self.run(&format!("remove {entry}\nadd {entry} {protocol} {cookie}\n"))
    }

    pub(super) fn remove(&self) {
        // The file may be gone, or the user's home; then so is the entry.
        let _ = self.run(&format!("remove {}\n", self.entry));
    }

    fn run(&self, commands: &str) -> Result<(), Refusal> {
        let program = PROGRAMS.into_iter().find(|program| Path::new(program).is_file());
        let program =
            program.ok_or_else(|| refuse("there is no xauth on this host; install it".to_owned()))?;
        let failed = |reason: String| refuse(format!("{program} failed: {reason}"));
        let child = Command::new(program)
            .args(["-q", "-"])
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| failed(error.to_string()))?;
        // A pipe has room for more than this; if xauth dies over it, its status says so.
        let told = child.stdin.take().map(|mut input| input.write_all(commands.as_bytes()));
        drop(told);
        match end_of(&mut child) {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(failed(status.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

fn end_of(child: &mut Child) -> io::Result<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(ErrorKind::TimedOut, "it does not end; see who locks .Xauthority"));
        }
        thread::sleep(LOOK);
    }
}

fn refuse(words: String) -> Refusal {
    Refusal::new(RefusalKind::NoDisplay, words)
}
