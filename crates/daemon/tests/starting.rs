//! A daemon that is asked to stop before its services have started.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);

/// How long it takes to end, while it waits to join by an auth service that is not there.
fn ends_after(signal: Signal, service: &str) -> (Option<i32>, Duration, String) {
    let home = tempfile::tempdir().expect("a directory");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound");
    let services =
        ["proxy_service", "ssh_service"].map(|name| format!("{name}: {{enabled: {}}}\n", name == service));
    let services = services.concat().replace("true", "true, LISTEN: \"127.0.0.1:0\"");
    let listen = if service == "proxy_service" { "web_listen_addr" } else { "listen_addr" };
    let (config, data) = (home.path().join("postern.yaml"), home.path().join("data"));
    let text = format!(
        "version: v3\npostern:\n  data_dir: {}\n  diag_addr: 127.0.0.1:0\n  auth_server: {nobody}\n  auth_token: a-token-of-the-cluster\n  \
         ca_pin: \"sha256:{}\"\nauth_service: {{enabled: no}}\n{}",
        data.display(),
        "ab".repeat(32),
        services.replace("LISTEN", listen)
    );
    fs::write(&config, text).expect("written");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_postern"));
    let daemon = daemon.args(["start", "-c"]).arg(&config).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut daemon = daemon.spawn().expect("starts");
    let begun = Instant::now();
    while !data.join("endpoints.json").exists() {
        assert!(begun.elapsed() < PATIENCE && daemon.try_wait().expect("ours").is_none(), "it starts");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    let asked = Instant::now();
    kill_process(Pid::from_child(&daemon), signal).expect("is alive");
    while daemon.try_wait().expect("ours").is_none() && asked.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    let took = asked.elapsed();
    let _ = daemon.kill();
    let mut log = String::new();
    daemon.stderr.take().expect("piped").read_to_string(&mut log).expect("reads");
    (daemon.wait().expect("ends").code(), took, log)
}

#[test]
fn a_host_that_waits_to_join_stops_when_asked() {
    for service in ["ssh_service", "proxy_service"] {
        for signal in [Signal::TERM, Signal::INT] {
            let (code, took, log) = ends_after(signal, service);
            assert_eq!(code, Some(0), "{service}: {log}");
            assert!(took < Duration::from_secs(2), "{service}: {took:?}\n{log}");
            assert!(log.contains("stopped before all services had started"), "{service}: {log}");
        }
    }
}
