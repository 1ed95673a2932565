//! The SFTP server with a client that sends what it likes, in a directory that is all there is of the file system.
//!
//! The server does what it is asked to, so it runs on a thread of its own whose root is that directory. Only root can have
//! that; without it the requests are read and not carried out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{LazyLock, Mutex, PoisonError};

use exec::sftp::protocol::{self, Packet};
use exec::sftp::record::{MAX_RECORD, Record};
use exec::sftp::{MAX_PACKET, serve};

use crate::ALLOCATOR;
use crate::input::Input;

/// What a server may have the allocator give besides its output: its two buffers, names, and open files.
const MEMORY: usize = 4 << 20;
/// Output is bounded by nothing but the input; more than this is not looked at.
const OUTPUT: usize = 64 << 20;
const REQUESTS: usize = 64;
const EXTENSIONS: [&str; 11] = [
    "posix-rename@openssh.com",
    "statvfs@openssh.com",
    "fstatvfs@openssh.com",
    "hardlink@openssh.com",
    "fsync@openssh.com",
    "lsetstat@openssh.com",
    "limits@openssh.com",
    "expand-path@openssh.com",
    "copy-data",
    "home-directory",
    "users-groups-by-id@openssh.com",
];
const PATHS: [&str; 12] = ["f", "d", "d/x", "l", "new", "d/new", "loop", "", ".", "..", "/", "/d/../f"];

/// Runs one script: a stream as it is, or requests that are made from it.
pub fn run(data: &[u8]) {
    let input = Input::new(data);
    let stream = if input.byte() & 1 == 0 { input.rest() } else { requests(&input) };
    read_alone(&stream);
    if let Some(sandbox) = &*SANDBOX {
        sandbox.run(stream);
    }
}

/// Requests as a client would write them, with paths and handles that may exist.
fn requests(input: &Input) -> Vec<u8> {
    let mut stream = framed(&[1, 0, 0, 0, 3]);
    for id in 0..REQUESTS {
        if input.is_empty() {
            break;
        }
        let mut packet = vec![if input.chance() { 3 + input.byte() % 18 } else { input.byte() }];
        if packet[0] > 20 {
            packet[0] = 200;
        }
        packet.extend(u32::try_from(id).expect("few").to_be_bytes());
        if packet[0] == 200 {
            string(&mut packet, EXTENSIONS[input.below(EXTENSIONS.len())].as_bytes());
        }
        for _ in 0..input.below(8) {
            field(&mut packet, input);
        }
        stream.extend(framed(&packet));
    }
    stream
}

fn field(packet: &mut Vec<u8>, input: &Input) {
    match input.below(8) {
        0..=2 => string(packet, PATHS[input.below(PATHS.len())].as_bytes()),
        3 | 4 => string(packet, &u64::from(input.byte() & 7).to_be_bytes()),
        5 => packet.extend(input.number().to_be_bytes()),
        6 => packet.extend((u64::from(input.number()) << input.below(33)).to_be_bytes()),
        _ => string(packet, &input.bytes()),
    }
}

fn string(packet: &mut Vec<u8>, bytes: &[u8]) {
    packet.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
    packet.extend_from_slice(bytes);
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&u32::try_from(packet.len()).expect("short").to_be_bytes()[..], packet].concat()
}

/// Each packet by itself, without doing anything.
fn read_alone(stream: &[u8]) {
    for packet in packets(stream) {
        _ = protocol::parse(packet);
    }
}

/// What is framed, until it is no frame any more.
fn packets(mut stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = stream.split_first_chunk()?;
        let packet = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        stream = &rest[packet.len()..];
        (!packet.is_empty() && packet.len() <= MAX_PACKET).then_some(packet)
    })
}

static SANDBOX: LazyLock<Option<Sandbox>> = LazyLock::new(Sandbox::start);

/// The thread and the way there and back.
struct Sandbox {
    to: SyncSender<Vec<u8>>,
    done: Mutex<Receiver<()>>,
}

impl Sandbox {
    fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("without root requests are read, not carried out");
            return None;
        }
        let root = tempfile::tempdir().expect("a directory").keep();
        let (to, scripts) = sync_channel::<Vec<u8>>(0);
        let (finished, done) = sync_channel(0);
        std::thread::spawn(move || {
            shut_in(&root);
            for script in scripts {
                carry_out(&script);
                if finished.send(()).is_err() {
                    return;
                }
            }
        });
        Some(Self { to, done: Mutex::new(done) })
    }

    fn run(&self, script: Vec<u8>) {
        self.to.send(script).expect("the thread lives");
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.recv().expect("the thread lives");
    }
}

/// Makes a directory the root of this thread's file system.
fn shut_in(root: &Path) {
    // SAFETY: no descriptor table is unshared; the root and the working directory of this thread alone change.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.expect("a root of its own");
    rustix::process::chroot(root).expect("root may");
    rustix::process::chdir("/").expect("there is one");
    assert!(fs::metadata("/proc").is_err() && fs::metadata("/etc").is_err(), "this is not the sandbox");
}

/// The same files for each run.
fn furnish() {
    for entry in fs::read_dir("/").expect("it is there").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("root may");
    }
    fs::create_dir("/d").expect("it is empty");
    fs::write("/f", [7; 1000]).expect("room");
    fs::write("/d/x", "x").expect("room");
    symlink("f", "/l").expect("it is empty");
    symlink("loop", "/loop").expect("it is empty");
}

fn carry_out(stream: &[u8]) {
    furnish();
    let (mut output, mut records) = (Vec::new(), Vec::new());
    let before = ALLOCATOR.allocated();
    let served = serve(stream, Bounded(&mut output), &mut records);
    let kept = output.capacity() + records.capacity();
    let memory = ALLOCATOR.allocated().saturating_sub(before + kept);
    assert!(memory <= MEMORY, "{memory} bytes are left");
    if output.len() < OUTPUT {
        check_replies(stream, &output, served.is_ok());
    }
    check_records(&records);
}

/// Each request has one answer, in order.
fn check_replies(stream: &[u8], output: &[u8], complete: bool) {
    let mut length = 0;
    let mut answers = packets(output).inspect(|packet| length += 4 + packet.len());
    let mut asked = 0;
    for packet in packets(stream) {
        let Some(answer) = answers.next() else { break };
        match protocol::parse(packet) {
            Ok(Packet::Init { .. }) => assert_eq!(answer[0], 2),
            _ => assert_eq!(answer[1..5], packet[1..5], "an answer to something else"),
        }
        asked += 1;
    }
    assert!(answers.next().is_none(), "an answer that nobody asked for");
    drop(answers);
    assert_eq!(length, output.len(), "not framed");
    assert!(!complete || asked == packets(stream).count(), "a request without an answer");
}

/// The records begin and end as they should, and can be read.
fn check_records(mut bytes: &[u8]) {
    let mut last = None;
    while let Some((record, taken)) = Record::decode(bytes).expect("records of our own") {
        assert!(taken <= 4 + MAX_RECORD);
        assert_eq!(last.is_none(), matches!(record, Record::Start { .. }));
        last = Some(record);
        bytes = &bytes[taken..];
    }
    assert!(bytes.is_empty() && matches!(last, Some(Record::Totals(_))), "no sum at the end");
}

/// Takes no more than is looked at.
struct Bounded<'a>(&'a mut Vec<u8>);

impl std::io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() < OUTPUT {
            self.0.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
