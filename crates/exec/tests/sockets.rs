//! The helper that opens sockets as the user, asked as the node asks it.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use exec::sockets::{Ask, Given, MAX_AT_ONCE, NewDisplay, Question, Refusal, RefusalKind, ask, hear};
use exec::{Exit, Failure, FailureKind, Launch, Session, SessionIo, SessionRequest, SpawnError, spawn};
use rustix::io::ioctl_fionbio;
use support::{GID, Host, LOGIN, UID, helper};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the tests below that need other accounts, on a host that has them.
#[test]
fn on_a_host_with_users() {
    let Some(host) = Host::new() else { return };
    let own = std::env::current_exe().expect("this program");
    let output = host
        .command(own, &["--ignored", "--test-threads=1", "--show-output"])
        .env("POSTERN_TEST_HOME", host.home())
        .output()
        .expect("unshare runs");
    let said = support::stdout(&output);
    assert!(output.status.success() && said.contains("5 passed"), "{said}{}", support::stderr(&output));
}

fn home() -> PathBuf {
    std::env::var_os("POSTERN_TEST_HOME").expect("run by on_a_host_with_users").into()
}

struct Helper {
    socket: OwnedFd,
    session: Session,
    uid: u32,
    last: u32,
}

impl Helper {
    fn of(login: &str) -> Self {
        let running = start(login).expect("started");
        let SessionIo::Sockets { socket } = running.io else { panic!("asked for no session") };
        ioctl_fionbio(&socket, false).expect("a descriptor");
        Self { socket, session: running.session, uid: running.started.uid, last: 0 }
    }

    fn send(&mut self, wanted: Ask) -> u32 {
        self.last += 1;
        ask(&self.socket, &Question { id: self.last, ask: wanted }).expect("sent");
        self.last
    }

    fn next(&self) -> (u32, Result<Given, Refusal>, Vec<OwnedFd>) {
        let (reply, descriptors) = hear(&self.socket).expect("heard").expect("the helper lives");
        (reply.id, reply.outcome, descriptors)
    }

    fn ask(&mut self, wanted: Ask) -> Result<(Given, Vec<OwnedFd>), Refusal> {
        let id = self.send(wanted);
        let (answered, outcome, descriptors) = self.next();
        assert_eq!(answered, id);
        outcome.map(|given| (given, descriptors))
    }

    fn refused(&mut self, wanted: Ask) -> Refusal {
        self.ask(wanted).expect_err("refused")
    }

    /// The node goes away, however that comes about.
    fn end(self) {
        drop(self.socket);
        assert_eq!(self.session.wait().expect("ends by itself"), Exit::Code(0));
    }
}

fn start(login: &str) -> Result<exec::Running, SpawnError> {
    spawn(helper(), &SessionRequest::new(login, Launch::Sockets)).expect("spawned").started(PATIENCE)
}

fn me() -> String {
    let me = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8(me.stdout).expect("a name").trim().to_owned()
}

fn bytes(path: &Path) -> Vec<u8> {
    path.to_str().expect("text").as_bytes().to_vec()
}

fn one<T: From<OwnedFd>>(mut descriptors: Vec<OwnedFd>) -> T {
    assert_eq!(descriptors.len(), 1);
    descriptors.remove(0).into()
}

#[test]
fn connections_are_made_and_handed_over() {
    let mut helper = Helper::of(&me());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (given, descriptors) = helper.ask(Ask::ConnectTcp { host: "localhost".into(), port }).expect("there");
    assert_eq!(given, Given::Connected);
    let mut near: TcpStream = one(descriptors);
    let mut far = listener.accept().expect("a connection").0;
    near.write_all(b"hello").expect("sent");
    drop(near);
    let mut heard = String::new();
    // To its end: the helper has kept no copy.
    far.read_to_string(&mut heard).expect("until the end");
    assert_eq!(heard, "hello");
    drop(listener);
    let refusal = helper.refused(Ask::ConnectTcp { host: "127.0.0.1".into(), port });
    assert_eq!(refusal.kind, RefusalKind::ConnectFailed);
    assert!(refusal.words.contains("Connection refused"), "{refusal}");
    let refusal = helper.refused(Ask::ConnectTcp { host: "no-such-host.invalid".into(), port: 1 });
    assert_eq!(refusal.kind, RefusalKind::ConnectFailed);
    helper.end();
}

#[test]
fn listeners_are_on_the_loopback_interface_alone() {
    let mut helper = Helper::of(&me());
    for address in ["192.0.2.1", "0.0.0.0.0", "example.com", "-x"] {
        let refusal = helper.refused(Ask::ListenTcp { address: address.into(), port: 0 });
        assert_eq!(refusal.kind, RefusalKind::CannotListen, "{address}");
    }
    for address in ["", "localhost", "127.0.0.1", "0.0.0.0", "*"] {
        let (given, descriptors) =
            helper.ask(Ask::ListenTcp { address: address.into(), port: 0 }).expect("listens");
        for listener in descriptors.into_iter().map(TcpListener::from) {
            let bound = listener.local_addr().expect("bound");
            assert!(bound.ip().is_loopback());
            assert_eq!(given, Given::Listening { port: bound.port() });
        }
    }
    helper.end();
}

#[test]
fn a_connection_that_hangs_holds_nothing_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("full");
    let listener = UnixListener::bind(&path).expect("bound");
    rustix::net::listen(&listener, 0).expect("a short queue");
    let waiting = UnixStream::connect(&path).expect("the queue's one place");
    let mut helper = Helper::of(&me());
    let hanging = helper.send(Ask::ConnectUnix { path: bytes(&path) });
    let (given, descriptors) = {
        let id = helper.send(Ask::Agent);
        let (answered, outcome, descriptors) = helper.next();
        assert_eq!(answered, id, "before the one that hangs");
        (outcome.expect("a socket"), descriptors)
    };
    assert!(matches!(given, Given::Agent { .. }) && descriptors.len() == 1);
    let accepted = listener.accept().expect("the first");
    assert_eq!(helper.next().0, hanging);
    drop((accepted, waiting));
    helper.end();
}

#[test]
fn questions_at_once_are_bounded_and_nonsense_is_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("full");
    let listener = UnixListener::bind(&path).expect("bound");
    rustix::net::listen(&listener, 0).expect("a short queue");
    let _waiting = UnixStream::connect(&path).expect("the queue's one place");
    let mut helper = Helper::of(&me());
    for _ in 0..MAX_AT_ONCE {
        helper.send(Ask::ConnectUnix { path: bytes(&path) });
    }
    let refusal = {
        helper.send(Ask::Agent);
        helper.next().1.expect_err("too many")
    };
    assert_eq!(refusal.kind, RefusalKind::Busy);
    rustix::net::send(&helper.socket, &[0, 0, 0, 9, 99], rustix::net::SendFlags::empty()).expect("sent");
    let (id, outcome, _) = helper.next();
    assert_eq!((id, outcome.expect_err("nonsense").kind), (9, RefusalKind::BadQuestion));
    // Those that hang do not keep it from ending.
    helper.end();
}

/// The program's end, and not its kind request, is what removes things: a service manager tells all processes at once.
#[test]
fn it_outlives_kind_signals_and_cleans_up_when_the_node_is_gone() {
    let mut helper = Helper::of(&me());
    let (given, listener) = helper.ask(Ask::Agent).expect("a socket");
    let Given::Agent { path } = given else { panic!("{given:?}") };
    helper.session.signal(exec::SessionSignal::TERM, helper.uid);
    helper.session.signal(exec::SessionSignal::HUP, helper.uid);
    assert!(UnixStream::connect(&path).is_ok());
    helper.ask(Ask::ConnectUnix { path: path.clone().into_bytes() }).expect("still there");
    let directory = Path::new(&path).parent().expect("a directory").to_owned();
    helper.end();
    assert!(!directory.exists());
    drop(listener);
}

#[test]
#[ignore = "only on a host with users; on_a_host_with_users makes one and runs it"]
fn it_has_the_user_s_rights_and_no_others() {
    let mut helper = Helper::of(LOGIN);
    assert_eq!(helper.uid, UID);
    let status = fs::read_to_string(format!("/proc/{}/status", helper.session.pid())).expect("it runs");
    assert!(status.contains(&format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}")), "{status}");
    assert!(status.contains(&format!("Gid:\t{GID}\t{GID}\t{GID}\t{GID}")), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    // Nobody of the user's can trace it: its memory belongs to root.
    let owner = fs::metadata(format!("/proc/{}/environ", helper.session.pid())).expect("it runs").uid();
    assert_eq!(owner, 0);
    let root = tempfile::tempdir().expect("a directory");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let path = root.path().join("root-only");
    let _listener = UnixListener::bind(&path).expect("bound");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
    let refusal = helper.refused(Ask::ConnectUnix { path: bytes(&path) });
    assert_eq!(refusal.kind, RefusalKind::ConnectFailed);
    assert!(refusal.words.contains("Permission denied"), "{refusal}");
    let refusal = helper.refused(Ask::ListenUnix { path: bytes(&root.path().join("new")) });
    assert!(refusal.words.contains("Permission denied"), "{refusal}");
    let refusal = helper.refused(Ask::ListenTcp { address: "localhost".into(), port: 1023 });
    assert_eq!(
        (refusal.kind, refusal.words.as_str()),
        (RefusalKind::PrivilegedPort, "port 1023 is for root only")
    );
    helper.end();
    let mut root = Helper::of("root");
    root.ask(Ask::ConnectUnix { path: bytes(&path) }).expect("root may");
    root.end();
}

#[test]
#[ignore = "only on a host with users; on_a_host_with_users makes one and runs it"]
fn sockets_at_paths_are_the_user_s_alone_and_take_nothing_s_place() {
    let mut helper = Helper::of(LOGIN);
    let path = home().join("listener");
    let (given, descriptors) = helper.ask(Ask::ListenUnix { path: bytes(&path) }).expect("listens");
    assert_eq!(given, Given::Listening { port: 0 });
    let listener: UnixListener = one(descriptors);
    let metadata = fs::symlink_metadata(&path).expect("there");
    assert!(metadata.file_type().is_socket());
    assert_eq!((metadata.uid(), metadata.mode() & 0o777), (UID, 0o600));
    let _connected = UnixStream::connect(&path).expect("root may");
    listener.accept().expect("a connection");
    for (name, make) in [
        (
            "file",
            Box::new(|path: &Path| fs::write(path, "precious")) as Box<dyn Fn(&Path) -> std::io::Result<()>>,
        ),
        ("link", Box::new(|path: &Path| symlink("/etc/nowhere", path))),
    ] {
        let taken = home().join(name);
        make(&taken).expect("made");
        let refusal = helper.refused(Ask::ListenUnix { path: bytes(&taken) });
        assert_eq!(refusal.kind, RefusalKind::CannotListen);
        assert!(refusal.words.contains("in use"), "{refusal}");
        assert!(fs::symlink_metadata(&taken).is_ok(), "what was there stays");
    }
    assert!(!Path::new("/etc/nowhere").exists());
    assert_eq!(helper.ask(Ask::Release(1)).expect("released").0, Given::Released);
    assert!(!path.exists());
    helper.ask(Ask::ListenUnix { path: bytes(&path) }).expect("free again");
    helper.end();
    assert!(!path.exists());
}

/// Reference sheet, row N3: nothing can be put in the place of an agent's socket, and nothing is given away by path.
#[test]
#[ignore = "only on a host with users; on_a_host_with_users makes one and runs it"]
fn an_agent_s_socket_lies_in_a_private_directory() {
    let mut helper = Helper::of(LOGIN);
    let mut paths = Vec::new();
    for _ in 0..2 {
        let (given, _listener) = helper.ask(Ask::Agent).expect("a socket");
        let Given::Agent { path } = given else { panic!("{given:?}") };
        let path = PathBuf::from(path);
        let directory = path.parent().expect("a directory").to_owned();
        let (outer, inner) =
            (fs::symlink_metadata(&directory).expect("there"), fs::metadata(&path).expect("there"));
        assert!(outer.is_dir() && inner.file_type().is_socket());
        assert_eq!((outer.uid(), outer.mode() & 0o777), (UID, 0o700));
        assert_eq!((inner.uid(), inner.mode() & 0o777), (UID, 0o600));
        assert_eq!(directory.parent(), Some(Path::new("/tmp")));
        paths.push(directory);
    }
    assert_ne!(paths[0], paths[1]);
    helper.ask(Ask::Release(1)).expect("released");
    assert!(!paths[0].exists() && paths[1].exists());
    helper.end();
    assert!(!paths[1].exists());
}

#[test]
#[ignore = "only on a host with users; on_a_host_with_users makes one and runs it"]
fn accounts_that_cannot_log_in_open_nothing() {
    for (login, kind, words) in [
        ("nobody-here", FailureKind::UnknownAccount, "unknown account"),
        ("locked", FailureKind::AccountUnusable, "is locked on this host"),
        ("expired", FailureKind::AccountUnusable, "has expired on this host"),
        ("nologin", FailureKind::AccountUnusable, "has no login shell on this host"),
        ("restricted", FailureKind::AccountUnusable, "has the restricted shell"),
        ("unlisted", FailureKind::AccountUnusable, "is not in /etc/shells"),
    ] {
        match start(login) {
            Err(SpawnError::Failed(Failure { kind: said, detail })) => {
                assert_eq!(said, kind, "{login}");
                assert!(detail.contains(words), "{login}: {detail}");
            }
            other => panic!("{login}: {other:?}"),
        }
    }
    Helper::of("keyonly").end();
}

#[test]
#[ignore = "only on a host with users; on_a_host_with_users makes one and runs it"]
fn a_display_has_its_entry_in_the_user_s_file_and_leaves_none() {
    const COOKIE: &str = "0123456789abcdef0123456789abcdef";
    if Command::new("xauth").arg("version").output().is_err() {
        eprintln!("SKIPPED: needs xauth(1)");
        return;
    }
    let entries = || {
        let file = home().join(".Xauthority");
        let list = Command::new("xauth").args(["-f".as_ref(), file.as_os_str(), "list".as_ref()]).output();
        String::from_utf8(list.expect("xauth runs").stdout).expect("text")
    };
    let display = |offset, most| {
        let (protocol, cookie) = ("MIT-MAGIC-COOKIE-1".to_owned(), COOKIE.to_owned());
        Ask::Display(NewDisplay { protocol, cookie, screen: 0, offset, most })
    };
    // High, so that nothing else on the host is in the way.
    let mut helper = Helper::of(LOGIN);
    let (given, listeners) = helper.ask(display(700, 800)).expect("a display");
    let Given::Display { name } = given else { panic!("{given:?}") };
    let number = name.strip_prefix("localhost:").and_then(|name| name.strip_suffix(".0")).expect("a name");
    let number: u16 = number.parse().expect("a number");
    assert!((700..=800).contains(&number));
    for listener in listeners.into_iter().map(TcpListener::from) {
        let bound = listener.local_addr().expect("bound");
        assert!(bound.ip().is_loopback() && bound.port() == 6000 + number);
        assert_eq!(entries().matches(COOKIE).count(), 1, "{}", entries());
        let owner = File::open(home().join(".Xauthority")).and_then(|file| file.metadata()).expect("there");
        assert_eq!((owner.uid(), owner.mode() & 0o777), (UID, 0o600));
    }
    let held: Vec<TcpListener> =
        (801..=802).filter_map(|n| TcpListener::bind(("127.0.0.1", 6000 + n)).ok()).collect();
    let refusal = helper.refused(display(801, 802));
    assert_eq!(refusal.words, "all displays from 801 to 802 are in use on this host");
    drop(held);
    helper.end();
    assert_eq!(entries(), "");
}
