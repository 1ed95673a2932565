//! For the tests: becomes the daemon's user and confines itself exactly as the daemon does, then tries what it must not be
//! able to do and what it must, and prints what came of each, a line for each.
//!
//! `confined DATA_DIR CONFIG_FILE [--stay] [--programs]`: `--stay` keeps the user, `--programs` lets it start programs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use daemon::config;
use daemon::privileges::account::{self, Account};
use daemon::privileges::{self, ownership, user};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let data_dir = PathBuf::from(arguments.first().ok_or("no data directory")?);
    let config_file = PathBuf::from(arguments.get(1).ok_or("no configuration")?);
    let config = config::load(&config_file)?;
    if flag("--stay") {
        user::no_rights()?;
    } else {
        let account = Account::find(None, account::number(&config.services))?;
        ownership::hand_over(&data_dir, &account)?;
        user::become_account(&account)?;
    }
    let mut files = privileges::files(&config, &config_file);
    files.programs |= flag("--programs");
    let confinement = privileges::confine(&files);
    tell("confinement", &format!("{} / {}", confinement.files, confinement.calls));
    attempt("write in the data directory", fs::write(data_dir.join("probe"), "x"));
    attempt("read the configuration", fs::read(&config_file));
    attempt("look at the launcher's directory", fs::read_dir(data_dir.join(ownership::LAUNCHER)));
    let elsewhere = data_dir.with_file_name("elsewhere");
    attempt("write elsewhere", fs::write(elsewhere.join("probe"), "x"));
    attempt("read elsewhere", fs::read(elsewhere.join("open")));
    attempt("remove root's lock", fs::remove_file(data_dir.join("postern.lock")));
    attempt("move the launcher's directory", fs::rename(data_dir.join("launcher"), data_dir.join("mine")));
    attempt("change a mode", set_mode(&data_dir.join("probe")));
    attempt("set an attribute", attribute(&data_dir.join("probe")));
    attempt("listen", std::net::TcpListener::bind("127.0.0.1:0"));
    attempt("take a port of UDP", std::net::UdpSocket::bind("127.0.0.1:0"));
    attempt("listen while services start", listen_anywhere());
    privileges::no_more_listeners();
    attempt("listen without a port", listen_anywhere());
    attempt(
        "listen in another thread",
        std::thread::scope(|scope| scope.spawn(listen_anywhere).join().expect("ends")),
    );
    attempt("resolve a name", std::net::ToSocketAddrs::to_socket_addrs("localhost:1"));
    attempt("open a terminal", terminal());
    attempt("start a thread", std::thread::Builder::new().spawn(|| ()).map(drop));
    attempt("start a program", std::process::Command::new("/bin/true").status());
    calls(&elsewhere);
    Ok(())
}

fn set_mode(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
}

fn attribute(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::setxattr(path, "user.postern", b"x", rustix::fs::XattrFlags::empty())?)
}

/// On a port that the system chooses, without asking for one.
fn listen_anywhere() -> io::Result<()> {
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)?;
    Ok(rustix::net::listen(&socket, 1)?)
}

/// As a node does for a session.
fn terminal() -> io::Result<()> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    ioctl_tiocgptpeer(&master, flags)?;
    Ok(())
}

fn calls(elsewhere: &Path) {
    use rustix::net::{AddressFamily, SocketType, socket};
    const AF_ALG: u16 = 38;
    attempt("become root", rustix::thread::set_thread_uid(rustix::process::Uid::ROOT));
    attempt("change the root", rustix::process::chroot(elsewhere));
    attempt("give a file away", std::os::unix::fs::chown(elsewhere, Some(0), None));
    attempt("open a rare socket", socket(AddressFamily::from_raw(AF_ALG), SocketType::SEQPACKET, None));
    let several_paths = rustix::net::Protocol::from_raw(262.try_into().expect("not zero"));
    attempt(
        "open a socket of several paths",
        socket(AddressFamily::INET, SocketType::STREAM, Some(several_paths)),
    );
    attempt("open a usual socket", socket(AddressFamily::INET6, SocketType::DGRAM, None));
    let unshared =
        std::process::Command::new("unshare").args(["--user", "true"]).stderr(Stdio::null()).status();
    let unshared = unshared.and_then(|status| match status.success() {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    });
    attempt("make a namespace by a program", unshared);
    let made = std::process::Command::new("python3").args(["-c", CALLS]).output();
    tell(
        "calls that are not refused",
        &made.map_or_else(
            |error| format!("{:?}", error.kind()),
            |made| String::from_utf8_lossy(&made.stdout).trim().to_owned(),
        ),
    );
}

/// Makes calls by their numbers, with arguments that none of them takes, and prints those that are not refused for being made.
const CALLS: &str = r#"
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
calls = {"quotactl_fd": 443, "fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469}
if platform.machine() == "x86_64":
    calls.update({"chmod": 90, "fchmod": 91, "fchmodat": 268, "shmget": 29, "shmat": 30, "msgget": 68, "semget": 64,
                  "mq_open": 240, "mq_unlink": 241, "setxattr": 188, "fsetxattr": 190, "removexattr": 197})
    calls.update({f"x32:{call}": 0x40000000 | call for call in (0, 39, 56, 90, 257, 514, 520, 547, 600)})
def refused(call):
    ctypes.set_errno(0)
    return libc.syscall(ctypes.c_long(call), -1, -1, -1, -1, -1, -1) == -1 and ctypes.get_errno() == errno.EPERM
print(" ".join(name for name, call in calls.items() if not refused(call)) or "none")
"#;

fn attempt<T, E: Into<io::Error>>(what: &str, result: Result<T, E>) {
    match result.map_err(Into::into) {
        Ok(_) => tell(what, "done"),
        Err(error) => tell(what, &format!("{:?}", error.kind())),
    }
}

#[expect(clippy::print_stdout, reason = "what it is for")]
fn tell(what: &str, came: &str) {
    println!("{what}: {came}");
}
