//! A conversation with an SFTP server, ours or OpenSSH's, in a directory of its own and as a user without privileges; and
//! its replies in a form in which two can be compared.

#![allow(dead_code, reason = "each test program uses its part of this")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

/// Whom the servers run as where the tests are root.
const NOBODY: u32 = 65_534;
const STOCK: [&str; 3] =
    ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];

/// A part of a request.
pub enum Field<'a> {
    Bytes(&'a [u8]),
    /// What the server called the handle that was kept under this name; an open one or one that was.
    Handle(&'static str),
    U32(u32),
    U64(u64),
}

pub struct Conversation {
    dir: TempDir,
    child: Child,
    handles: BTreeMap<&'static str, Vec<u8>>,
    next: u32,
    /// Our own server's records, which it waits for somebody to read.
    _records: Option<std::thread::JoinHandle<()>>,
}

/// Makes these files the servers' user's, where the tests are root.
pub fn give_away(dir: &Path, names: &[&str]) {
    if rustix::process::geteuid().is_root() {
        for name in names {
            std::os::unix::fs::chown(dir.join(name), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    }
}

impl std::fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)])),
            Self::Handle(name) => write!(f, "handle {name}"),
            Self::U32(number) => write!(f, "{number}"),
            Self::U64(number) => write!(f, "{number}"),
        }
    }
}

impl Conversation {
    /// OpenSSH's server, if it is here.
    pub fn stock(fixture: impl Fn(&Path)) -> Option<Self> {
        let Some(program) = STOCK.into_iter().find(|program| Path::new(program).exists()) else {
            eprintln!("SKIPPED: OpenSSH's sftp-server is not installed");
            return None;
        };
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root, for files of two users");
            return None;
        }
        Some(Self::start(Command::new(program), None, fixture))
    }

    /// Ours.
    pub fn ours(fixture: impl Fn(&Path)) -> Option<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_session-exec"));
        let program = program.parent().expect("a target directory").join("examples/sftp_server");
        assert!(program.exists(), "build the examples first: cargo build -p exec --examples");
        // Where the other user can reach it.
        let copy = TempDir::new().expect("a directory");
        open_to_all(copy.path());
        std::fs::copy(program, copy.path().join("server")).expect("a copy");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut conversation =
            Self::start(Command::new(copy.path().join("server")), Some(theirs.into()), fixture);
        let mut records = ours;
        conversation._records =
            Some(std::thread::spawn(move || drop(std::io::copy(&mut records, &mut std::io::sink()))));
        Some(conversation)
    }

    fn start(mut program: Command, records: Option<OwnedFd>, fixture: impl Fn(&Path)) -> Self {
        let dir = TempDir::new().expect("a directory");
        open_to_all(dir.path());
        let work = dir.path().join("work");
        std::fs::create_dir(&work).expect("own directory");
        open_to_all(&work);
        fixture(&work);
        program.current_dir(&work).env("TZ", "UTC").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(records) = records {
            program.stderr(records);
        }
        if rustix::process::geteuid().is_root() {
            program.uid(NOBODY).gid(NOBODY);
        }
        let child = program.spawn().expect("runs");
        drop(program);
        let mut conversation = Self { dir, child, handles: BTreeMap::new(), next: 1, _records: None };
        conversation.send(&[1, 0, 0, 0, 3]);
        let greeting = conversation.receive();
        assert_eq!(greeting[..5], [2, 0, 0, 0, 3]);
        conversation
    }

    fn send(&mut self, packet: &[u8]) {
        let length = u32::try_from(packet.len()).expect("short").to_be_bytes();
        let input = self.child.stdin.as_mut().expect("a pipe");
        input.write_all(&[&length, packet].concat()).expect("the server reads");
    }

    fn receive(&mut self) -> Vec<u8> {
        let output = self.child.stdout.as_mut().expect("a pipe");
        let mut length = [0; 4];
        output.read_exact(&mut length).expect("the server answers");
        let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("short")];
        output.read_exact(&mut packet).expect("the server answers");
        packet
    }

    /// What the server says, as text: everything but what differs from run to run.
    pub fn ask(&mut self, kind: u8, fields: &[Field<'_>], name: &'static str) -> String {
        let packet = self.packet(kind, fields);
        self.send(&packet);
        let reply = self.receive();
        assert_eq!(reply[1..5], self.next.to_be_bytes());
        let mut rest = Rest(&reply[5..]);
        match reply[0] {
            101 => format!("status {}", rest.u32()),
            102 => {
                self.handles.insert(name, rest.bytes().to_vec());
                "handle".to_owned()
            }
            103 => format!("data {:?}", rest.bytes()),
            104 => self.names(&mut rest),
            105 => attributes(&mut rest),
            // Only what stays the same between two looks at a file system that is in use.
            201 if fields.len() == 2 && rest.0.len() == 88 => format!("file system {:?}", &rest.0[..24]),
            other => format!("type {other} {:?}", rest.0),
        }
    }

    /// Asks the same so many times before it reads any answer, and says how many bytes all answers were.
    pub fn flood(&mut self, kind: u8, fields: &[Field<'_>], times: usize) -> usize {
        let mut input = self.child.stdin.take().expect("a pipe");
        let packets = (0..times).map(|_| self.packet(kind, fields)).collect::<Vec<_>>();
        let asking = std::thread::spawn(move || {
            for packet in packets {
                let length = u32::try_from(packet.len()).expect("short").to_be_bytes();
                input.write_all(&[&length, &packet[..]].concat()).expect("the server reads");
            }
            input
        });
        let bytes = (0..times).map(|_| 4 + self.receive().len()).sum();
        self.child.stdin = Some(asking.join().expect("all is asked"));
        bytes
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file in the server's working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    fn packet(&mut self, kind: u8, fields: &[Field<'_>]) -> Vec<u8> {
        self.next += 1;
        let mut packet = vec![kind];
        packet.extend_from_slice(&self.next.to_be_bytes());
        for field in fields {
            match field {
                Field::U32(value) => packet.extend_from_slice(&value.to_be_bytes()),
                Field::U64(value) => packet.extend_from_slice(&value.to_be_bytes()),
                Field::Bytes(value) => put(&mut packet, value),
                Field::Handle(name) => {
                    let handle = self.handles.get(name).cloned().unwrap_or_else(|| b"never".to_vec());
                    put(&mut packet, &handle);
                }
            }
        }
        packet
    }

    fn names(&self, rest: &mut Rest<'_>) -> String {
        let here: PathBuf = self.dir.path().canonicalize().expect("there");
        let here = here.display().to_string();
        let plain = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&here, "HERE");
        let mut lines = (0..rest.u32())
            .map(|_| {
                let (name, long) = (plain(rest.bytes()), plain(rest.bytes()));
                // Of a listing the columns without the date, which is of the same kind for old files alone.
                let long = if long.contains("  2001 ") || long == name {
                    long
                } else {
                    long.split_whitespace()
                        .take(if long.starts_with('d') { 4 } else { 5 })
                        .collect::<Vec<_>>()
                        .join(" ")
                };
                format!("{name:?} {long:?} {}", attributes(rest))
            })
            .collect::<Vec<_>>();
        lines.sort();
        lines.join("\n")
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).expect("own directory");
}

fn put(packet: &mut Vec<u8>, bytes: &[u8]) {
    packet.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
    packet.extend_from_slice(bytes);
}

/// Attributes as text; a time of today is only that, and a directory is as large as its file system makes it.
fn attributes(rest: &mut Rest<'_>) -> String {
    let flags = rest.u32();
    let mut text = String::new();
    let size = if flags & 1 != 0 { Some(rest.u64()) } else { None };
    let owner = if flags & 2 != 0 { Some((rest.u32(), rest.u32())) } else { None };
    let mode = if flags & 4 != 0 { Some(format!("{:o}", rest.u32())) } else { None };
    let times = if flags & 8 != 0 { Some([rest.u32(), rest.u32()]) } else { None };
    if let (Some(mode), Some((user, _))) = (&mode, owner)
        && mode.starts_with("40")
    {
        let _ = write!(text, "directory {mode} of {user}");
        return text;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let times = times.map(|times| {
        times.map(
            |time| if now.abs_diff(u64::from(time)) < 86_400 { "now".to_owned() } else { time.to_string() },
        )
    });
    let _ = write!(text, "attributes {size:?} {owner:?} {mode:?} {times:?}");
    text
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.u32()).expect("short");
        self.take(length)
    }
}
