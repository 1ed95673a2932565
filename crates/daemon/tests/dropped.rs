//! The daemon that was started as root: who it is afterwards, what it still does, and whose its files are.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daemon::privileges::account::{Account, WITHOUT_ACCOUNT};
use rustix::process::{Gid, Pid, Signal, Uid, kill_process};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of root's that everybody may pass through, and what is configured to live in it.
struct Home {
    directory: tempfile::TempDir,
    more: String,
}

struct Daemon {
    child: Child,
    directory: PathBuf,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        Self { directory, more: String::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, wrapper: &[&str]) -> Command {
        let data_dir = self.path("data");
        let config = format!(
            "version: v3\npostern:\n  data_dir: {}\n  diag_addr: 127.0.0.1:0\n{}\
             auth_service: {{cluster_name: a.example, listen_addr: \"127.0.0.1:0\"}}\n\
             proxy_service: {{enabled: yes, web_listen_addr: \"127.0.0.1:0\"}}\nssh_service: {{enabled: no}}\n",
            data_dir.display(),
            self.more
        );
        fs::write(self.path("postern.yaml"), config).expect("written");
        let program = [wrapper, &[env!("CARGO_BIN_EXE_postern")]].concat();
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(["start", "-c"]).arg(self.path("postern.yaml"));
        command
    }

    fn start(&self, wrapper: &[&str]) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.path("stderr")).expect("opens");
        let child = self.command(wrapper).stderr(log).stdout(Stdio::null()).spawn().expect("starts");
        let mut daemon = Daemon { child, directory: self.directory.path().to_owned() };
        daemon.until("ready", |daemon| {
            let endpoints = fs::read(daemon.directory.join("data/endpoints.json")).ok()?;
            let endpoints: BTreeMap<String, String> = serde_json::from_slice(&endpoints).ok()?;
            (ready(endpoints.get("diag")?)? == 200).then_some(())
        });
        daemon
    }

    fn refused(&self) -> String {
        let output = self.command(&[]).output().expect("runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Owner and permissions of everything in the data directory.
    fn owners(&self) -> BTreeMap<String, (u32, u32)> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.path("data")];
        while let Some(path) = open.pop() {
            let metadata = fs::symlink_metadata(&path).expect("is there");
            let name = path.strip_prefix(self.directory.path()).expect("inside").display().to_string();
            found.insert(name, (metadata.uid(), metadata.mode() & 0o7777));
            if metadata.is_dir() {
                open.extend(fs::read_dir(&path).expect("lists").map(|entry| entry.expect("reads").path()));
            }
        }
        found
    }
}

impl Daemon {
    fn until<T>(&mut self, what: &str, mut condition: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = condition(self) {
                return value;
            }
            let log = || fs::read_to_string(self.directory.join("stderr")).unwrap_or_default();
            if let Some(status) = self.child.try_wait().expect("our own child") {
                panic!("ended with {status} before {what}:\n{}", log());
            }
            assert!(start.elapsed() < PATIENCE, "waited for {what}:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn status(&self) -> BTreeMap<String, String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("reads");
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    }

    fn stop(mut self) {
        kill_process(self.pid(), Signal::TERM).expect("is alive");
        assert!(self.child.wait().expect("ends").success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ready(address: &str) -> Option<u16> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root to give it up");
    }
    root
}

fn account() -> Account {
    Account::find(None, WITHOUT_ACCOUNT[0]).expect("an account or the number")
}

/// Connects to a socket as this user, and tells whether it is spoken to: one who is not is hung up on at once.
fn is_served(socket: &Path, uid: u32) -> std::io::Result<bool> {
    let as_user = || {
        // Of this thread alone, which ends.
        set_thread_res_gid(Gid::from_raw(uid), Gid::from_raw(uid), Gid::from_raw(uid))?;
        set_thread_res_uid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::from_raw(uid))?;
        let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // A server of HTTP/2 answers with its settings.
        let asked = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        Ok(asked.is_ok() && stream.read(&mut [0; 9]).is_ok_and(|read| read > 0))
    };
    std::thread::scope(|scope| scope.spawn(as_user).join().expect("ends"))
}

#[test]
fn the_daemon_s_own_user_is_no_administrator() {
    if !is_root() {
        return;
    }
    let (home, uid) = (Home::new(), account().uid);
    for _ in 0..2 {
        let daemon = home.start(&[]);
        let socket = home.path("data/admin.sock");
        let found = fs::metadata(&socket).expect("is there");
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o600));
        assert!(is_served(&socket, 0).expect("connects"), "root is");
        let refused = is_served(&socket, uid).expect_err("by its mode");
        assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
        // Not for the mode alone.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("chmod");
        assert!(!is_served(&socket, uid).expect("connects"));
        daemon.stop();
        // What somebody else left there, or lets answer there, is replaced.
        fs::remove_file(&socket).expect("root's stayed behind");
        let _planted = std::os::unix::net::UnixListener::bind(&socket).expect("binds");
        std::os::unix::fs::chown(&socket, Some(uid), Some(uid)).expect("chown");
        home.start(&[]).stop();
    }
}

#[test]
fn what_it_inherited_is_closed() {
    let home = Home::new();
    let secret = home.path("of the shell");
    fs::write(&secret, "x").expect("written");
    let inherit = format!("exec 9<'{}' 251<'{0}'; exec \"$@\"", secret.display());
    let daemon = home.start(&["bash", "-c", &inherit, "-"]);
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).expect("lists");
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.expect("reads").path()).ok()).collect();
    assert!(open.len() > 3 && !open.contains(&secret), "{open:?}");
}

#[test]
fn two_daemons_of_one_user_are_told_of() {
    if !is_root() {
        return;
    }
    let (home, other) = (Home::new(), Home::new());
    let (_one, _two) = (home.start(&[]), other.start(&[]));
    let log = fs::read_to_string(other.path("stderr")).expect("reads");
    assert!(
        log.contains("another process runs as the daemon's user") && log.contains("postern.user"),
        "{log}"
    );
}

#[test]
fn it_is_nobody_else_and_can_do_nothing_more() {
    if !is_root() {
        return;
    }
    let (home, account) = (Home::new(), account());
    let daemon = home.start(&[]);
    let status = daemon.status();
    let (uid, gid) = (account.uid.to_string(), account.gid.to_string());
    assert_eq!(status["Uid"].split_whitespace().collect::<Vec<_>>(), [uid.as_str(); 4]);
    assert_eq!(status["Gid"].split_whitespace().collect::<Vec<_>>(), [gid.as_str(); 4]);
    assert_eq!(status["Groups"], "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status[set], 16), Ok(0), "{set}");
    }
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    for task in fs::read_dir(format!("/proc/{}/task", daemon.child.id())).expect("lists") {
        let status = fs::read_to_string(task.expect("reads").path().join("status")).expect("reads");
        assert!(status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "each thread: {status}");
    }
    daemon.stop();
    let log = fs::read_to_string(home.path("stderr")).expect("reads");
    let mut warnings = log.lines().filter(|line| line.contains("WARN"));
    // Of other tests that run beside this one.
    let expected = ["auth is away", "another process runs as the daemon's user"];
    assert!(
        warnings.all(|line| expected.iter().any(|text| line.contains(text))),
        "nothing to warn of: {log}"
    );
}

#[test]
fn a_port_of_roots_is_served_and_kept_over_a_restart() {
    if !is_root() {
        return;
    }
    let mut home = Home::new();
    // One that nobody uses on a test machine; with 443 two runs would meet.
    let port = (600..1000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let Some(port) = port else { return eprintln!("SKIPPED: no port below 1024 is free") };
    home.more = format!("  advertise_ip: 127.0.0.1\n  pid_file: {}\n", home.path("pid").display());
    let serve = |home: &Home| {
        let mut command = home.command(&[]);
        let config = fs::read_to_string(home.path("postern.yaml")).expect("reads");
        let config = config.replace("diag_addr: 127.0.0.1:0", &format!("diag_addr: 127.0.0.1:{port}"));
        fs::write(home.path("postern.yaml"), config).expect("written");
        let log = fs::File::create(home.path("stderr")).expect("opens");
        let child = command.stderr(log).spawn().expect("starts");
        let mut daemon = Daemon { child, directory: home.directory.path().to_owned() };
        daemon.until("ready", |_| (ready(&format!("127.0.0.1:{port}"))? == 200).then_some(()));
        daemon
    };
    for _ in 0..2 {
        let daemon = serve(&home);
        assert_ne!(daemon.status()["Uid"].split_whitespace().next(), Some("0"));
        let pid = fs::read_to_string(home.path("pid")).expect("reads");
        assert_eq!(pid.trim(), daemon.child.id().to_string());
        daemon.stop();
    }
}

#[test]
fn logs_and_configuration_are_read_and_opened_again() {
    if !is_root() {
        return;
    }
    let mut home = Home::new();
    let (log, moved) = (home.path("postern.log"), home.path("postern.log.1"));
    home.more = format!("  log: {{output: {}}}\n", log.display());
    let mut daemon = home.start(&[]);
    // As logrotate does with `create 0640 postern postern`.
    fs::rename(&log, &moved).expect("moved");
    fs::write(&log, "").expect("made");
    std::os::unix::fs::chown(&log, Some(account().uid), Some(account().gid)).expect("chown");
    kill_process(daemon.pid(), Signal::HUP).expect("is alive");
    daemon.until("the new log", |_| {
        fs::read_to_string(&log).ok()?.contains("configuration reloaded").then_some(())
    });
    // A directory of root's and no file: nothing to write to, and the log says so where it still goes.
    fs::rename(&log, &moved).expect("moved");
    kill_process(daemon.pid(), Signal::HUP).expect("is alive");
    daemon.until("the complaint", |_| {
        let text = fs::read_to_string(&moved).ok()?;
        (text.contains("log file was not opened again") && text.contains("logrotate")).then_some(())
    });
    // A file that only root reads: an error that names it.
    fs::set_permissions(home.path("postern.yaml"), fs::Permissions::from_mode(0o600)).expect("chmod");
    kill_process(daemon.pid(), Signal::HUP).expect("is alive");
    daemon.until("the refusal", |_| {
        let text = fs::read_to_string(&moved).ok()?;
        (text.contains("configuration is not reloaded") && text.contains("Permission denied")).then_some(())
    });
    daemon.stop();
}

#[test]
fn an_installation_of_roots_is_handed_over_whole_and_once_again_after_a_crash() {
    if !is_root() {
        return;
    }
    let (home, account) = (Home::new(), account());
    home.start(&[]).stop();
    // As daemons left it that stayed root, with a link into root's files and one that only looks like the launcher's.
    let secret = home.path("roots");
    fs::write(&secret, "x").expect("written");
    for name in home.owners().keys() {
        std::os::unix::fs::lchown(home.path(name), Some(0), Some(0)).expect("chown");
    }
    fs::set_permissions(home.path("data"), fs::Permissions::from_mode(0o700)).expect("chmod");
    std::os::unix::fs::symlink(&secret, home.path("data/host/link")).expect("linked");
    // A start that was killed in the middle: part of it is the daemon's.
    std::os::unix::fs::chown(home.path("data/host"), Some(account.uid), Some(account.gid)).expect("chown");
    home.start(&[]).stop();
    for (name, (owner, mode)) in home.owners() {
        let roots = ["data", "data/launcher", "data/postern.lock", "data/admin.sock", "data/host/link"]
            .contains(&name.as_str());
        assert_eq!(owner, if roots { 0 } else { account.uid }, "{name}");
        assert!(
            mode & 0o007 == 0 || name.ends_with("link") || name.ends_with("endpoints.json"),
            "{name}: {mode:o}"
        );
    }
    let owners = home.owners();
    assert_eq!((owners["data"].1, owners["data/launcher"].1), (0o1770, 0o700));
    assert_eq!(fs::metadata(&secret).expect("is there").uid(), 0, "no link was followed");
    // What is copied back as root is found at the next start; what has a second name elsewhere is not touched.
    let kept = fs::read(home.path("data/host_uuid")).expect("reads");
    fs::remove_file(home.path("data/host_uuid")).expect("removed");
    fs::write(home.path("data/host_uuid"), kept).expect("written");
    fs::hard_link(&secret, home.path("data/host/planted")).expect("linked");
    drop(home.start(&[]));
    assert_eq!(fs::metadata(home.path("data/host_uuid")).expect("is there").uid(), account.uid);
    assert_eq!(fs::metadata(&secret).expect("is there").uid(), 0);
}

#[test]
fn what_cannot_be_right_is_refused_before_anything_is_made() {
    if !is_root() {
        return;
    }
    let mut home = Home::new();
    home.more = "  user: nobody-of-this-name\n".to_owned();
    let text = home.refused();
    assert!(text.contains("useradd --system") && text.contains("nobody-of-this-name"), "{text}");
    home.more = "  user: root\n".to_owned();
    assert!(home.refused().contains("does not stay root"));
    home.more.clear();
    // A directory above that nobody else may pass.
    fs::set_permissions(home.directory.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    let text = home.refused();
    assert!(
        text.contains(&home.directory.path().display().to_string()) && text.contains("chmod o+x"),
        "{text}"
    );
    fs::set_permissions(home.directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    // Somebody else's data.
    std::os::unix::fs::chown(home.path("data"), Some(12_345), Some(12_345)).expect("chown");
    fs::set_permissions(home.path("data"), fs::Permissions::from_mode(0o700)).expect("chmod");
    let advice = format!("chown -R root {}", home.path("data").display());
    let text = home.refused();
    assert!(text.contains("belongs to user 12345") && text.contains(&advice), "{text}");
    std::os::unix::fs::chown(home.path("data/postern.lock"), Some(12_345), Some(12_345)).expect("chown");
    let text = home.refused();
    assert!(text.contains("one of user 12345") && text.contains(&advice), "{text}");
    assert!(!home.path("data/backend").exists(), "no cluster was made");
    // And the advice is good.
    assert!(
        std::process::Command::new("chown")
            .args(["-R", "root"])
            .arg(home.path("data"))
            .status()
            .expect("runs")
            .success()
    );
    home.start(&[]).stop();
}

#[test]
fn a_directory_in_the_launchers_place_is_not_taken_for_its_own() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    home.start(&[]).stop();
    fs::remove_dir(home.path("data/launcher")).expect("removed");
    let (uid, gid) = (Some(account().uid), Some(account().gid));
    fs::create_dir(home.path("data/launcher")).expect("made");
    std::os::unix::fs::chown(home.path("data/launcher"), uid, gid).expect("chown");
    assert!(home.refused().contains("is not a directory of root's"));
}

#[test]
fn another_account_takes_over() {
    if !is_root() {
        return;
    }
    let mut home = Home::new();
    home.start(&[]).stop();
    let games = Account::find(Some("games"), 1);
    let Ok(games) = games else { return eprintln!("SKIPPED: no account \"games\"") };
    home.more = "  user: games\n".to_owned();
    let daemon = home.start(&[]);
    assert!(daemon.status()["Uid"].starts_with(&games.uid.to_string()));
    daemon.stop();
    let former: Vec<_> =
        home.owners().into_iter().filter(|(_, (owner, _))| WITHOUT_ACCOUNT.contains(owner)).collect();
    assert!(former.is_empty(), "{former:?}");
}

#[test]
fn who_is_not_root_serves_as_himself_and_confined() {
    let home = Home::new();
    let root = rustix::process::geteuid().is_root();
    let wrapper: &[&str] =
        if root { &["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"] } else { &[] };
    fs::create_dir(home.path("data")).expect("made");
    if root {
        std::os::unix::fs::chown(home.path("data"), Some(65_533), Some(65_533)).expect("chown");
    }
    let daemon = home.start(wrapper);
    let status = daemon.status();
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    assert_eq!(u64::from_str_radix(&status["CapEff"], 16), Ok(0));
    daemon.stop();
    assert_eq!(home.owners()["data"].1 & 0o077, home.owners()["data"].1 & 0o055, "as it was");
}

#[test]
fn a_log_is_not_written_through_what_the_daemon_planted() {
    if !is_root() {
        return;
    }
    let mut home = Home::new();
    home.start(&[]).stop();
    let target = home.path("roots");
    fs::write(&target, "untouched").expect("written");
    let log = home.path("data/host/postern.log");
    std::os::unix::fs::symlink(&target, &log).expect("linked");
    home.more = format!("  log: {{output: {}}}\n", log.display());
    assert!(home.refused().contains("cannot open log file"));
    assert_eq!(fs::read_to_string(&target).expect("reads"), "untouched");
    let _: &Path = &target;
}
