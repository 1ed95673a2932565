//! What a client could try against the SFTP server: it is the user's process and no more, and nothing holds it up.

mod stock;

mod abuse {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::stock::Field::{Bytes, Handle, U32, U64};
    use super::stock::{Conversation, Field, give_away};

    const OPEN: u8 = 3;
    const CLOSE: u8 = 4;
    const READ: u8 = 5;
    const WRITE: u8 = 6;
    const SETSTAT: u8 = 9;
    const REALPATH: u8 = 16;
    const STAT: u8 = 17;
    const EXTENDED: u8 = 200;
    const TO_READ: u32 = 1;
    const TO_WRITE: u32 = 2;

    fn s(text: &str) -> Field<'_> {
        Bytes(text.as_bytes())
    }

    /// A server as another user than the tests', or a visible reason to skip.
    fn server(fixture: impl Fn(&Path)) -> Option<Conversation> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root, for files of two users");
            return None;
        }
        Conversation::ours(|dir| {
            give_away(dir, &[""]);
            fs::write(dir.join("own"), "mine").expect("own directory");
            give_away(dir, &["own"]);
            fixture(dir);
        })
    }

    fn open(server: &mut Conversation, path: &str, flags: u32, name: &'static str) -> String {
        server.ask(OPEN, &[s(path), U32(flags), U32(0)], name)
    }

    /// Whether it goes on as before.
    fn answers(server: &mut Conversation) {
        assert_eq!(open(server, "own", TO_READ, "own"), "handle");
        assert_eq!(server.ask(READ, &[Handle("own"), U64(0), U32(9)], ""), format!("data {:?}", b"mine"));
        assert_eq!(server.ask(CLOSE, &[Handle("own")], ""), "status 0");
    }

    #[test]
    fn n6_paths_lead_where_the_user_may_go_and_no_further() {
        let Some(mut server) = server(|dir| {
            fs::write(dir.join("../secret"), "not yours").expect("own directory");
            fs::set_permissions(dir.join("../secret"), PermissionsExt::from_mode(0o600)).expect("own file");
            symlink("../secret", dir.join("link")).expect("own directory");
        }) else {
            return;
        };
        for path in ["../secret", "./x/../../secret", "link", "/etc/shadow", "../../../../../../etc/shadow"] {
            for flags in [TO_READ, TO_WRITE, TO_WRITE | 16] {
                let said = open(&mut server, path, flags, "stolen");
                assert!(["status 2", "status 3"].contains(&said.as_str()), "{path}: {said}");
            }
        }
        // What the user may read is the user's to read, wherever it is.
        assert_eq!(open(&mut server, "/etc/passwd", TO_READ, "passwd"), "handle");
        answers(&mut server);
    }

    #[test]
    fn n6_a_name_that_becomes_a_link_does_not_move_an_open_file() {
        let Some(mut server) = server(|dir| {
            fs::write(dir.join("victim"), "as it was").expect("own directory");
            give_away(dir, &["victim"]);
        }) else {
            return;
        };
        assert_eq!(open(&mut server, "upload", TO_WRITE | 8, "upload"), "handle");
        assert_eq!(server.ask(WRITE, &[Handle("upload"), U64(0), s("first")], ""), "status 0");
        fs::rename(server.path("upload"), server.path("moved")).expect("own directory");
        symlink("victim", server.path("upload")).expect("own directory");
        assert_eq!(server.ask(WRITE, &[Handle("upload"), U64(5), s(" second")], ""), "status 0");
        assert_eq!(server.ask(10, &[Handle("upload"), U32(4), U32(0o600)], ""), "status 0");
        assert_eq!(fs::read_to_string(server.path("moved")).expect("there"), "first second");
        assert_eq!(fs::read_to_string(server.path("victim")).expect("there"), "as it was");
        assert_eq!(fs::metadata(server.path("victim")).expect("there").mode() & 0o777, 0o644);
    }

    #[test]
    fn n6_the_server_s_own_process_cannot_be_opened() {
        let Some(mut server) = server(|_| ()) else { return };
        for path in [
            "/proc/self/fd/0",
            "/proc/self/fd/1",
            "/proc/self/fd/2",
            "/proc/self/mem",
            "/proc/self/environ",
            "/proc/thread-self/fd/1",
            "/dev/stdin",
            "/dev/stdout",
            "/dev/fd/1",
        ] {
            for flags in [TO_READ, TO_WRITE] {
                let said = open(&mut server, path, flags, "stolen");
                assert!(["status 3", "status 4"].contains(&said.as_str()), "{path}: {said}");
            }
        }
        answers(&mut server);
    }

    #[test]
    fn n6_devices_and_fifos_hold_nothing_up() {
        let Some(mut server) = server(|dir| {
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(rustix::fs::CWD, dir.join("fifo"), rustix::fs::FileType::Fifo, mode, 0)
                .expect("a fifo");
            give_away(dir, &["fifo"]);
        }) else {
            return;
        };
        assert_eq!(open(&mut server, "fifo", TO_READ, "fifo"), "handle");
        assert_eq!(server.ask(READ, &[Handle("fifo"), U64(0), U32(9)], ""), "status 4");
        // There is a reader now, so it opens; without one it is refused at once.
        assert_eq!(open(&mut server, "fifo", TO_WRITE, "in"), "handle");
        assert_eq!(server.ask(WRITE, &[Handle("in"), U64(0), s("x")], ""), "status 4");
        assert_eq!(server.ask(CLOSE, &[Handle("fifo")], ""), "status 0");
        assert_eq!(server.ask(CLOSE, &[Handle("in")], ""), "status 0");
        assert_eq!(open(&mut server, "fifo", TO_WRITE, "in"), "status 4");
        assert_eq!(server.ask(SETSTAT, &[s("fifo"), U32(1), U64(0)], ""), "status 5");
        assert_eq!(open(&mut server, "/dev/full", TO_WRITE, "full"), "handle");
        assert_eq!(server.ask(WRITE, &[Handle("full"), U64(0), s("x")], ""), "status 4");
        assert_eq!(open(&mut server, "/dev/zero", TO_READ, "zero"), "handle");
        assert_eq!(open(&mut server, "to", TO_WRITE | 8, "to"), "handle");
        let copy = [s("copy-data"), Handle("zero"), U64(0), U64(0), Handle("to"), U64(0)];
        assert_eq!(server.ask(EXTENDED, &copy, ""), "status 4");
        // The terminal of nobody.
        assert_eq!(open(&mut server, "/dev/tty", TO_READ, "tty"), "status 4");
        answers(&mut server);
    }

    #[test]
    fn n6_sizes_up_to_eight_exbibytes_take_no_time() {
        let Some(mut server) = server(|_| ()) else { return };
        assert_eq!(open(&mut server, "far", TO_READ | TO_WRITE | 8, "far"), "handle");
        for offset in [1 << 62, (1 << 63) - 2, 1 << 63, u64::MAX] {
            assert_eq!(server.ask(READ, &[Handle("far"), U64(offset), U32(9)], "").len(), "status 1".len());
            let said = server.ask(WRITE, &[Handle("far"), U64(offset), s("x")], "");
            assert!(said.starts_with("status"), "{said}");
            let said = server.ask(SETSTAT, &[s("own"), U32(1), U64(offset)], "");
            assert!(said.starts_with("status"), "{said}");
        }
        assert_eq!(server.ask(SETSTAT, &[s("own"), U32(1), U64(4)], ""), "status 0");
        // As large as file systems here allow.
        let large = [1u64 << 62, 1 << 43, 1 << 40]
            .into_iter()
            .find(|size| server.ask(SETSTAT, &[s("far"), U32(1), U64(*size)], "") == "status 0");
        let large = large.expect("a sparse file of a tebibyte");
        assert_eq!(server.ask(WRITE, &[Handle("far"), U64(large / 2), s("in the middle")], ""), "status 0");
        assert_eq!(open(&mut server, "copy", TO_READ | TO_WRITE | 8, "copy"), "handle");
        let copy = [s("copy-data"), Handle("far"), U64(0), U64(0), Handle("copy"), U64(0)];
        assert_eq!(server.ask(EXTENDED, &copy, ""), "status 0");
        let said = server.ask(READ, &[Handle("copy"), U64(large / 2), U32(13)], "");
        assert_eq!(said, format!("data {:?}", b"in the middle"));
        let copied = fs::metadata(server.path("copy")).expect("there");
        assert_eq!(copied.len(), large);
        assert!(copied.blocks() < 1 << 12, "{} blocks", copied.blocks());
        // Over what was there before, which must not show through the holes.
        assert_eq!(server.ask(WRITE, &[Handle("copy"), U64(10), s("old")], ""), "status 0");
        assert_eq!(server.ask(EXTENDED, &copy, ""), "status 0");
        let said = server.ask(READ, &[Handle("copy"), U64(10), U32(3)], "");
        assert_eq!(said, format!("data {:?}", [0, 0, 0]));
        answers(&mut server);
    }

    #[test]
    fn n6_long_paths_are_refused_and_not_kept() {
        let Some(mut server) = server(|_| ()) else { return };
        let long = "a/".repeat(100_000);
        for (kind, fields) in [
            (OPEN, vec![s(&long), U32(TO_READ), U32(0)]),
            (STAT, vec![s(&long)]),
            (REALPATH, vec![s(&long)]),
            (EXTENDED, vec![s("expand-path@openssh.com"), s(&long)]),
            (20, vec![s(&long), s("link")]),
            (18, vec![s("own"), s(&long)]),
        ] {
            assert_eq!(server.ask(kind, &fields, ""), "status 5", "type {kind}");
        }
        answers(&mut server);
    }

    #[test]
    fn n6_a_client_that_asks_much_at_once_is_served_in_little_memory() {
        const TIMES: usize = 1_500;
        let Some(mut server) = server(|dir| {
            fs::write(dir.join("large"), vec![7; 261_120]).expect("own directory");
            give_away(dir, &["large"]);
        }) else {
            return;
        };
        assert_eq!(open(&mut server, "large", TO_READ, "large"), "handle");
        let bytes = server.flood(READ, &[Handle("large"), U64(0), U32(u32::MAX)], TIMES);
        assert_eq!(bytes, TIMES * (13 + 261_120));
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(peak < 16 << 10, "{peak} KiB");
    }
}
