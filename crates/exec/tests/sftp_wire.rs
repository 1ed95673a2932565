//! The SFTP server byte by byte: what real clients do not send.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use exec::sftp::{MAX_PACKET, serve};

const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const OK: u32 = 0;
const EOF: u32 = 1;
const NO_SUCH_FILE: u32 = 2;
const FAILURE: u32 = 4;
const BAD_MESSAGE: u32 = 5;
const UNSUPPORTED: u32 = 8;

/// Requests in the making.
#[derive(Default)]
struct Client {
    input: Vec<u8>,
    next_id: u32,
}

enum Field<'a> {
    Bytes(&'a [u8]),
    U32(u32),
    U64(u64),
}
use Field::{Bytes, U32, U64};

impl Client {
    /// One that has greeted.
    fn new() -> Self {
        let mut client = Self::default();
        client.frame(&[1, 0, 0, 0, 3]);
        client
    }

    fn frame(&mut self, packet: &[u8]) {
        self.input.extend_from_slice(&u32::try_from(packet.len()).expect("short").to_be_bytes());
        self.input.extend_from_slice(packet);
    }

    fn ask(&mut self, kind: u8, fields: &[Field<'_>]) {
        let mut packet = vec![kind];
        packet.extend_from_slice(&self.next_id.to_be_bytes());
        self.next_id += 1;
        for field in fields {
            match field {
                U32(value) => packet.extend_from_slice(&value.to_be_bytes()),
                U64(value) => packet.extend_from_slice(&value.to_be_bytes()),
                Bytes(value) => {
                    packet.extend_from_slice(&u32::try_from(value.len()).expect("short").to_be_bytes());
                    packet.extend_from_slice(value);
                }
            }
        }
        self.frame(&packet);
    }

    fn open(&mut self, path: &Path, flags: u32) {
        self.ask(3, &[Bytes(path.as_os_str().as_bytes()), U32(flags), U32(0)]);
    }

    /// All replies, the greeting's first; ids are checked to come in order.
    fn finish(self) -> Vec<Reply> {
        let (output, outcome) = self.try_finish();
        outcome.expect("spoke the protocol");
        let replies = replies(&output);
        for (id, reply) in (0u32..).zip(&replies[1..]) {
            assert_eq!(reply.0[1..5], id.to_be_bytes());
        }
        replies
    }

    fn try_finish(self) -> (Vec<u8>, io::Result<()>) {
        let mut output = Vec::new();
        let outcome = serve(&self.input[..], &mut output, io::sink());
        (output, outcome)
    }
}

struct Reply(Vec<u8>);

impl Reply {
    fn kind(&self) -> u8 {
        self.0[0]
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn status(&self) -> u32 {
        assert_eq!(self.kind(), STATUS);
        self.number(5)
    }

    /// The string behind the id: a handle, or data.
    fn bytes(&self) -> &[u8] {
        &self.0[9..9 + usize::try_from(self.number(5)).expect("short")]
    }
}

fn replies(mut output: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some((length, rest)) = output.split_first_chunk::<4>() {
        let (packet, rest) = rest.split_at(usize::try_from(u32::from_be_bytes(*length)).expect("short"));
        assert!(packet.len() <= MAX_PACKET);
        replies.push(Reply(packet.to_vec()));
        output = rest;
    }
    replies
}

/// The handle that the server gives first, second, ...
fn handle(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

#[test]
fn the_greeting_names_version_and_extensions() {
    let replies = Client::new().finish();
    assert_eq!(replies[0].0[..5], [2, 0, 0, 0, 3]);
    let text = String::from_utf8_lossy(&replies[0].0).into_owned();
    for name in
        ["posix-rename", "statvfs", "fstatvfs", "hardlink", "fsync", "lsetstat", "limits", "expand-path"]
    {
        assert!(text.contains(&format!("{name}@openssh.com")), "{text}");
    }
}

#[test]
fn who_does_not_speak_the_protocol_is_cut_off() {
    let mut before_hello = Client::default();
    before_hello.ask(17, &[Bytes(b".")]);
    let mut twice = Client::new();
    twice.frame(&[1, 0, 0, 0, 3]);
    let mut no_id = Client::new();
    no_id.frame(&[17, 0]);
    let mut too_large = Client::new();
    too_large.frame(&vec![5; MAX_PACKET + 1]);
    let mut cut = Client::new();
    cut.ask(17, &[Bytes(b".")]);
    cut.input.pop();
    for (name, client) in [
        ("request first", before_hello),
        ("two hellos", twice),
        ("no id", no_id),
        ("too large", too_large),
        ("cut", cut),
    ] {
        let (_, outcome) = client.try_finish();
        outcome.expect_err(name);
    }
}

#[test]
fn malformed_and_unknown_requests_are_answered_and_survived() {
    let mut client = Client::new();
    client.ask(17, &[]);
    client.ask(17, &[Bytes(b"a\0b")]);
    client.ask(5, &[Bytes(b"x"), U64(0)]);
    client.ask(99, &[]);
    client.ask(200, &[Bytes(b"nobody@example.com"), Bytes(b"data")]);
    client.ask(17, &[Bytes(b"/")]);
    let replies = client.finish();
    let codes: Vec<u32> = replies[1..6].iter().map(Reply::status).collect();
    assert_eq!(codes, [BAD_MESSAGE, BAD_MESSAGE, BAD_MESSAGE, UNSUPPORTED, UNSUPPORTED]);
    assert_eq!(replies[6].kind(), 105);
}

#[test]
fn a_closed_handle_stays_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f");
    let mut client = Client::new();
    client.open(&path, 0x1 | 0x2 | 0x8);
    client.ask(4, &[Bytes(&handle(0))]);
    client.ask(4, &[Bytes(&handle(0))]);
    client.open(&path, 0x1);
    client.ask(5, &[Bytes(&handle(0)), U64(0), U32(1)]);
    client.ask(5, &[Bytes(&handle(1)), U64(0), U32(1)]);
    client.ask(12, &[Bytes(&handle(1))]);
    client.ask(5, &[Bytes(b"short"), U64(0), U32(1)]);
    let replies = client.finish();
    assert_eq!((replies[1].kind(), replies[1].bytes()), (HANDLE, &handle(0)[..]));
    assert_eq!((replies[2].status(), replies[3].status()), (OK, NO_SUCH_FILE));
    assert_eq!(replies[4].bytes(), handle(1));
    assert_eq!((replies[5].status(), replies[6].status()), (FAILURE, EOF));
    assert_eq!((replies[7].status(), replies[8].status()), (FAILURE, FAILURE));
}

#[test]
fn handles_are_bounded() {
    let mut client = Client::new();
    client.ask(200, &[Bytes(b"limits@openssh.com")]);
    for _ in 0..1100 {
        client.ask(11, &[Bytes(b"/")]);
    }
    client.ask(4, &[Bytes(&handle(0))]);
    client.ask(11, &[Bytes(b"/")]);
    let replies = client.finish();
    let numbers: Vec<u64> =
        replies[1].0[5..].chunks(8).map(|n| u64::from_be_bytes(n.try_into().expect("eight bytes"))).collect();
    let [packet, read, write, limit] = numbers[..] else { panic!("{numbers:?}") };
    assert_eq!((packet, read, write), (262_144, 261_120, 261_120));
    let opened = replies[2..1102].iter().filter(|reply| reply.kind() == HANDLE).count();
    assert_eq!(u64::try_from(opened).expect("few"), limit);
    assert_eq!(replies[1101].status(), FAILURE);
    assert_eq!((replies[1102].status(), replies[1103].kind()), (OK, HANDLE));
}

#[test]
fn reads_and_writes_stay_in_their_limits() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f");
    fs::write(&path, vec![b'x'; 300_000]).expect("a file");
    let mut client = Client::new();
    client.open(&path, 0x1 | 0x2);
    client.ask(5, &[Bytes(&handle(0)), U64(0), U32(u32::MAX)]);
    client.ask(5, &[Bytes(&handle(0)), U64(299_999), U32(100)]);
    client.ask(5, &[Bytes(&handle(0)), U64(300_000), U32(100)]);
    client.ask(5, &[Bytes(&handle(0)), U64(u64::MAX), U32(100)]);
    client.ask(6, &[Bytes(&handle(0)), U64(u64::MAX), Bytes(b"y")]);
    client.ask(6, &[Bytes(&handle(0)), U64(299_999), Bytes(b"yz")]);
    client.ask(10, &[Bytes(&handle(0)), U32(1), U64(u64::MAX)]);
    client.ask(5, &[Bytes(&handle(0)), U64(299_998), U32(100)]);
    let replies = client.finish();
    assert_eq!((replies[2].kind(), replies[2].bytes().len()), (DATA, 261_120));
    assert_eq!(replies[3].bytes(), b"x");
    assert_eq!(replies[4].status(), EOF);
    assert_eq!((replies[5].status(), replies[6].status()), (BAD_MESSAGE, BAD_MESSAGE));
    assert_eq!((replies[7].status(), replies[8].status()), (OK, BAD_MESSAGE));
    assert_eq!(replies[9].bytes(), b"xyz");
}

#[test]
fn appending_ignores_the_offset() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f");
    fs::write(&path, "one").expect("a file");
    let mut client = Client::new();
    client.open(&path, 0x2 | 0x4);
    client.ask(6, &[Bytes(&handle(0)), U64(0), Bytes(b"two")]);
    client.finish();
    assert_eq!(fs::read_to_string(path).expect("there"), "onetwo");
}

#[test]
fn a_fifo_holds_nothing_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .expect("a fifo");
    let mut client = Client::new();
    client.open(&path, 0x1);
    client.open(&path, 0x2);
    client.ask(5, &[Bytes(&handle(0)), U64(0), U32(10)]);
    client.ask(17, &[Bytes(b"/")]);
    let replies = client.finish();
    assert_eq!(replies.len(), 5);
    assert_eq!(replies[4].kind(), 105);
}

#[test]
fn attributes_are_set_together_and_links_are_not_followed_when_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, link) = (dir.path().join("f"), dir.path().join("l"));
    fs::write(&file, "12345").expect("a file");
    std::os::unix::fs::symlink("f", &link).expect("a link");
    let mut client = Client::new();
    let path = link.as_os_str().as_bytes();
    client.ask(9, &[Bytes(path), U32(0x1 | 0x4 | 0x8), U64(2), U32(0o104_600), U32(1000), U32(2000)]);
    client.ask(200, &[Bytes(b"lsetstat@openssh.com"), Bytes(path), U32(0x8), U32(3000), U32(4000)]);
    client.ask(200, &[Bytes(b"lsetstat@openssh.com"), Bytes(path), U32(0x4), U32(0o777)]);
    client.ask(200, &[Bytes(b"lsetstat@openssh.com"), Bytes(path), U32(0x1), U64(0)]);
    let replies = client.finish();
    let codes: Vec<u32> = replies[1..].iter().map(Reply::status).collect();
    assert_eq!(codes, [OK, OK, FAILURE, BAD_MESSAGE]);
    let metadata = fs::metadata(&file).expect("there");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((metadata.len(), metadata.mode(), metadata.mtime()), (2, 0o104_600, 2000));
    assert_eq!(fs::symlink_metadata(&link).expect("there").mtime(), 4000);
}

#[test]
fn paths_resolve_as_far_as_they_exist() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().canonicalize().expect("there");
    std::os::unix::fs::symlink(".", root.join("here")).expect("a link");
    let table = [
        ("here/here/..", root.parent().expect("not the root").to_path_buf()),
        ("here/new", root.join("new")),
        ("./here/../x/.", root.parent().expect("not the root").join("x")),
    ];
    let mut client = Client::new();
    for (path, _) in &table {
        client.ask(16, &[Bytes(root.join(path).as_os_str().as_bytes())]);
    }
    client.ask(16, &[Bytes(root.join("missing/new").as_os_str().as_bytes())]);
    client.ask(16, &[Bytes(b"")]);
    client.ask(200, &[Bytes(b"expand-path@openssh.com"), Bytes(b"~root/..")]);
    client.ask(200, &[Bytes(b"expand-path@openssh.com"), Bytes(b"~no-such-account-here/x")]);
    let replies = client.finish();
    let path = |reply: &Reply| {
        assert_eq!((reply.kind(), reply.number(5)), (104, 1));
        let length = usize::try_from(reply.number(9)).expect("short");
        String::from_utf8(reply.0[13..13 + length].to_vec()).expect("text")
    };
    for ((asked, expected), reply) in table.iter().zip(&replies[1..]) {
        assert_eq!(Path::new(&path(reply)), expected, "{asked}");
    }
    assert_eq!(replies[4].status(), NO_SUCH_FILE);
    assert_eq!(path(&replies[5]), std::env::current_dir().expect("there").display().to_string());
    assert!(path(&replies[6]).starts_with('/'));
    assert_eq!(replies[7].status(), NO_SUCH_FILE);
}
