//! The SFTP server against OpenSSH's `sftp-server`: the same requests, and replies that are the same but for what is
//! listed here with its reason.

mod stock;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use Expected::{Differs, Same};
use Field::{Bytes, Handle, U32, U64};
use stock::{Conversation, Field};

/// Whether the two should say the same.
enum Expected {
    Same,
    /// What OpenSSH says, what ours says, and why that is meant.
    Differs(&'static str, &'static str, &'static str),
}

/// A request, and the name that its handle is kept under if it gives one.
type Step<'a> = (u8, Vec<Field<'a>>, &'static str, Expected);

const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const READLINK: u8 = 19;
const SYMLINK: u8 = 20;
const EXTENDED: u8 = 200;

fn s(text: &str) -> Field<'_> {
    Bytes(text.as_bytes())
}

fn same<'a>(kind: u8, fields: impl Into<Vec<Field<'a>>>) -> Step<'a> {
    (kind, fields.into(), "", Same)
}

fn keep<'a>(kind: u8, fields: impl Into<Vec<Field<'a>>>, name: &'static str) -> Step<'a> {
    (kind, fields.into(), name, Same)
}

fn extended<'a>(name: &'a str, fields: impl Into<Vec<Field<'a>>>) -> Step<'a> {
    let mut all = vec![s(name)];
    all.extend(fields.into());
    (EXTENDED, all, "", Same)
}

/// The same files with the same times for each server.
fn fixture(dir: &Path) {
    let write = |name: &str, content: &[u8]| {
        fs::write(dir.join(name), content).expect("own directory");
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let times = fs::FileTimes::new().set_accessed(then).set_modified(then);
        fs::File::options()
            .write(true)
            .open(dir.join(name))
            .expect("there")
            .set_times(times)
            .expect("own file");
    };
    fs::create_dir(dir.join("d")).expect("own directory");
    fs::create_dir(dir.join("closed")).expect("own directory");
    fs::create_dir(dir.join("sticky")).expect("own directory");
    write("f", &(0..100).collect::<Vec<u8>>());
    write("d/x", b"x");
    write("d/a longer name", b"");
    write("secret", b"not yours");
    write("closed/in", b"");
    write("suid", b"");
    symlink("f", dir.join("l")).expect("own directory");
    symlink("nowhere", dir.join("dangling")).expect("own directory");
    symlink("loop", dir.join("loop")).expect("own directory");
    symlink("d", dir.join("to-d")).expect("own directory");
    let mode = |name: &str, mode| {
        fs::set_permissions(dir.join(name), PermissionsExt::from_mode(mode)).expect("own file");
    };
    stock::give_away(dir, &["", "f", "d", "d/x", "suid", "closed"]);
    for (name, bits) in
        [("f", 0o640), ("secret", 0o600), ("suid", 0o4755), ("sticky", 0o1755), ("closed", 0o000)]
    {
        mode(name, bits);
    }
}

/// Both servers, in directories of their own.
fn both(steps: Vec<Step<'_>>) {
    let (Some(mut stock), Some(mut ours)) = (Conversation::stock(fixture), Conversation::ours(fixture))
    else {
        return;
    };
    let mut wrong = Vec::new();
    for (number, (kind, fields, name, expected)) in steps.into_iter().enumerate() {
        let (theirs, mine) = (stock.ask(kind, &fields, name), ours.ask(kind, &fields, name));
        let fits = match expected {
            Same => theirs == mine,
            Differs(stock, ours, reason) => {
                eprintln!("differs, for {reason}");
                theirs == stock && mine == ours
            }
        };
        if !fits {
            wrong.push(format!("step {number}, type {kind} {fields:?}:\n  stock {theirs}\n  ours  {mine}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_are_looked_at_alike() {
    let long = "n".repeat(300);
    let longer = "n/".repeat(3000);
    let mut steps = Vec::new();
    let names = [
        "f",
        "d",
        "l",
        "dangling",
        "loop",
        "to-d",
        "to-d/x",
        "f/x",
        "missing",
        "missing/x",
        "closed/in",
        "secret",
        "suid",
        "sticky",
        "",
        ".",
        "..",
        "./f",
        "d/../f",
        "/",
        "/etc/..",
        &long,
        &longer,
    ];
    for name in names {
        for kind in [LSTAT, STAT, READLINK] {
            steps.push(same(kind, [s(name)]));
        }
        // Where the two name the same directory differently nobody compares.
        steps.push(same(REALPATH, [s(name)]));
    }
    both(steps);
}

#[test]
fn files_are_read_and_written_alike() {
    let (read, write, append, create, truncate, exclusive) = (1, 2, 4, 8, 16, 32);
    let open = |path: &'static str, flags, name| keep(OPEN, [s(path), U32(flags), U32(0)], name);
    let read_at = |name, offset, length| same(READ, [Handle(name), U64(offset), U32(length)]);
    let write_at = |name, offset, data: &'static str| same(WRITE, [Handle(name), U64(offset), s(data)]);
    both(vec![
        open("f", read, "f"),
        read_at("f", 0, 10),
        read_at("f", 95, 10),
        read_at("f", 100, 10),
        read_at("f", 50, 0),
        read_at("f", 100, 0),
        read_at("f", u64::MAX, 1),
        read_at("f", i64::MAX as u64, 1),
        read_at("f", 0, u32::MAX),
        write_at("f", 0, "no"),
        same(FSTAT, [Handle("f")]),
        same(FSETSTAT, [Handle("f"), U32(4), U32(0o600)]),
        same(FSETSTAT, [Handle("f"), U32(1), U64(50)]),
        same(FSTAT, [Handle("f")]),
        same(CLOSE, [Handle("f")]),
        same(CLOSE, [Handle("f")]),
        same(READ, [Handle("f"), U64(0), U32(1)]),
        open("f", read | write, "rw"),
        write_at("rw", 100, "beyond"),
        write_at("rw", 0, ""),
        write_at("rw", u64::MAX, "x"),
        read_at("rw", 90, 100),
        same(FSETSTAT, [Handle("rw"), U32(1), U64(10)]),
        same(FSETSTAT, [Handle("rw"), U32(1), U64(u64::MAX)]),
        same(FSETSTAT, [Handle("rw"), U32(8), U32(5), U32(6)]),
        same(FSTAT, [Handle("rw")]),
        open("new", write | create | exclusive, "new"),
        open("new", write | create | exclusive, "again"),
        write_at("new", 0, "one"),
        open("new", write | append, "append"),
        write_at("append", 0, "two"),
        same(STAT, [s("new")]),
        open("new", read | write | truncate, "cut"),
        same(STAT, [s("new")]),
        keep(OPEN, [s("mode"), U32(write | create), U32(4), U32(0o600)], "mode"),
        same(STAT, [s("mode")]),
        keep(OPEN, [s("suided"), U32(write | create), U32(4), U32(0o104_777)], "suided"),
        same(STAT, [s("suided")]),
        open("missing", read, "none"),
        open("missing/x", write | create, "none"),
        open("d", read, "dir"),
        read_at("dir", 0, 1),
        same(FSTAT, [Handle("dir")]),
        open("d", write, "none"),
        open("secret", read, "none"),
        open("secret", write | truncate, "none"),
        open("closed/in", read, "none"),
        open("loop", read, "none"),
        open("dangling", read, "none"),
        open("", read, "none"),
        open("/dev/null", read | write, "null"),
        read_at("null", 0, 10),
        write_at("null", 0, "gone"),
        open("/dev/zero", read, "zero"),
        read_at("zero", 5, 10),
        open("f", 0, "nothing"),
        read_at("nothing", 0, 1),
        same(READ, [Bytes(b"nonsense"), U64(0), U32(1)]),
        same(READ, [Bytes(b""), U64(0), U32(1)]),
        same(READDIR, [Handle("rw")]),
        extended("fsync@openssh.com", [Handle("rw")]),
        extended("fsync@openssh.com", [Bytes(b"none")]),
    ]);
}

#[test]
fn attributes_are_set_alike() {
    let set = |path: &'static str, rest: Vec<Field<'static>>| {
        let mut fields = vec![s(path)];
        fields.extend(rest);
        same(SETSTAT, fields)
    };
    let lset = |path: &'static str, rest: Vec<Field<'static>>, expected| {
        let mut fields = vec![s("lsetstat@openssh.com"), s(path)];
        fields.extend(rest);
        (EXTENDED, fields, "", expected)
    };
    both(vec![
        set("f", vec![U32(1), U64(7)]),
        set("f", vec![U32(4), U32(0o100_751)]),
        set("f", vec![U32(8), U32(100), U32(200)]),
        same(STAT, [s("f")]),
        set("l", vec![U32(1 | 4 | 8), U64(3), U32(0o600), U32(1), U32(2)]),
        same(STAT, [s("f")]),
        set("f", vec![U32(1), U64(u64::MAX)]),
        set("f", vec![U32(1), U64(1 << 62)]),
        set("f", vec![U32(2), U32(0), U32(0)]),
        set("secret", vec![U32(4), U32(0o777)]),
        set("secret", vec![U32(1), U64(0)]),
        set("secret", vec![U32(8), U32(1), U32(1)]),
        set("missing", vec![U32(4), U32(0o777)]),
        set("missing", vec![U32(0)]),
        set("d", vec![U32(1), U64(0)]),
        set("dangling", vec![U32(8), U32(1), U32(1)]),
        // An extended attribute, which nobody knows.
        set("f", vec![U32(0x8000_0000), U32(1), s("name"), s("value")]),
        lset("l", vec![U32(8), U32(11), U32(12)], Same),
        same(LSTAT, [s("l")]),
        lset("l", vec![U32(4), U32(0o600)], Same),
        lset("l", vec![U32(1), U64(0)], Same),
        lset("l", vec![U32(2), U32(0), U32(0)], Same),
        lset("f", vec![U32(4), U32(0o604)], Same),
        lset("suid", vec![U32(4), U32(0o000)], Same),
        lset("suid", vec![U32(4), U32(0o604)], Same),
        lset("missing", vec![U32(4), U32(0o600)], Same),
        same(STAT, [s("f")]),
    ]);
}

#[test]
fn names_are_changed_alike() {
    both(vec![
        same(MKDIR, [s("new"), U32(0)]),
        same(MKDIR, [s("new"), U32(0)]),
        same(MKDIR, [s("mode"), U32(4), U32(0o700)]),
        same(STAT, [s("mode")]),
        same(STAT, [s("new")]),
        same(MKDIR, [s("missing/new"), U32(0)]),
        same(MKDIR, [s(""), U32(0)]),
        same(RMDIR, [s("new")]),
        same(RMDIR, [s("new")]),
        same(RMDIR, [s("d")]),
        same(RMDIR, [s("f")]),
        same(RMDIR, [s(".")]),
        same(REMOVE, [s("d")]),
        same(REMOVE, [s("missing")]),
        same(REMOVE, [s("dangling")]),
        same(REMOVE, [s("closed/in")]),
        same(RENAME, [s("f"), s("g")]),
        same(RENAME, [s("f"), s("h")]),
        same(RENAME, [s("g"), s("suid")]),
        same(RENAME, [s("g"), s("missing/g")]),
        same(RENAME, [s("g"), s("closed/g")]),
        same(RENAME, [s("mode"), s("moved")]),
        same(RENAME, [s("moved"), s("d")]),
        same(RENAME, [s("l"), s("link")]),
        same(LSTAT, [s("link")]),
        same(RENAME, [s("g"), s("g")]),
        extended("posix-rename@openssh.com", [s("g"), s("suid")]),
        extended("posix-rename@openssh.com", [s("g"), s("suid")]),
        extended("posix-rename@openssh.com", [s("d"), s("suid")]),
        extended("posix-rename@openssh.com", [s("d"), s("d/in")]),
        same(SYMLINK, [s("anything"), s("soft")]),
        same(SYMLINK, [s("anything"), s("soft")]),
        same(SYMLINK, [s(""), s("empty")]),
        same(READLINK, [s("soft")]),
        same(READLINK, [s("suid")]),
        extended("hardlink@openssh.com", [s("suid"), s("hard")]),
        extended("hardlink@openssh.com", [s("suid"), s("hard")]),
        extended("hardlink@openssh.com", [s("d"), s("hard-d")]),
        extended("hardlink@openssh.com", [s("missing"), s("hard-m")]),
        same(LSTAT, [s("hard")]),
    ]);
}

#[test]
fn directories_are_listed_alike() {
    both(vec![
        keep(OPENDIR, [s("d")], "d"),
        same(READDIR, [Handle("d")]),
        same(READDIR, [Handle("d")]),
        same(READDIR, [Handle("d")]),
        same(READ, [Handle("d"), U64(0), U32(1)]),
        same(CLOSE, [Handle("d")]),
        same(READDIR, [Handle("d")]),
        keep(OPENDIR, [s(".")], "here"),
        same(READDIR, [Handle("here")]),
        keep(OPENDIR, [s("f")], "none"),
        keep(OPENDIR, [s("missing")], "none"),
        keep(OPENDIR, [s("closed")], "none"),
        keep(OPENDIR, [s("to-d")], "to-d"),
        (
            FSTAT,
            vec![Handle("to-d")],
            "",
            Differs(
                "status 4",
                "directory 40755 of 65534",
                "a directory that is open can be looked at as well",
            ),
        ),
        same(WRITE, [Handle("to-d"), U64(0), s("x")]),
    ]);
}

#[test]
fn extensions_answer_alike() {
    let copy = |from, from_offset, length, to, to_offset| {
        vec![s("copy-data"), Handle(from), U64(from_offset), U64(length), Handle(to), U64(to_offset)]
    };
    let copied = |from, from_offset, length, to, to_offset| {
        (EXTENDED, copy(from, from_offset, length, to, to_offset), "", Same)
    };
    both(vec![
        extended("statvfs@openssh.com", [s("f")]),
        extended("statvfs@openssh.com", [s("missing")]),
        keep(OPEN, [s("f"), U32(1), U32(0)], "f"),
        extended("fstatvfs@openssh.com", [Handle("f")]),
        extended("fstatvfs@openssh.com", [Bytes(b"none")]),
        extended("expand-path@openssh.com", [s("~")]),
        extended("expand-path@openssh.com", [s("~/")]),
        extended("expand-path@openssh.com", [s("~root")]),
        extended("expand-path@openssh.com", [s("~no-such-account-here/x")]),
        extended("expand-path@openssh.com", [s("d")]),
        extended("expand-path@openssh.com", [s("missing")]),
        (
            EXTENDED,
            vec![s("home-directory"), s("root")],
            "",
            Differs(
                r#""/nonexistent" "/nonexistent" attributes None None None None"#,
                r#""/root" "/root" attributes None None None None"#,
                "OpenSSH 9.2 gives the own home whoever is asked for",
            ),
        ),
        extended("home-directory", [s("no-such-account-here")]),
        extended(
            "users-groups-by-id@openssh.com",
            [Bytes(&[0; 8]), Bytes(&[0, 0, 0, 0, 0x7f, 0xff, 0xff, 9])],
        ),
        extended("users-groups-by-id@openssh.com", [Bytes(b""), Bytes(b"")]),
        extended("no-such-extension", []),
        keep(OPEN, [s("copy"), U32(3 | 8), U32(0)], "copy"),
        copied("f", 0, 0, "copy", 0),
        same(READ, [Handle("copy"), U64(0), U32(200)]),
        copied("f", 10, 5, "copy", 2),
        same(READ, [Handle("copy"), U64(0), U32(200)]),
        copied("f", 100, 0, "copy", 0),
        copied("f", 90, 0, "copy", 1000),
        same(STAT, [s("copy")]),
        copied("copy", 0, 0, "copy", 0),
        copied("f", u64::MAX, 0, "copy", 0),
        copied("copy", 0, 0, "f", 0),
        (
            EXTENDED,
            copy("f", 100, 10, "copy", 0),
            "",
            Differs("status 0", "status 1", "nothing was there, which a client should hear"),
        ),
        keep(OPEN, [s("copy"), U32(2 | 4), U32(0)], "append"),
        copied("f", 0, 3, "append", 0),
        same(STAT, [s("copy")]),
        (
            EXTENDED,
            copy("f", 98, 10, "copy", 0),
            "",
            Differs("status 0", "status 1", "less was there than asked for, which a client should hear"),
        ),
    ]);
}
