//! What is shipped beside the programs: the target that installs them, and the files for systemd.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAMS: [&str; 6] = ["postern", "session-launcher", "session-exec", "tctl", "tsh", "tbot"];

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("is there")
}

/// The settings of a unit; of those that stand twice the last.
fn settings(file: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(tree().join("dist/systemd").join(file)).expect("is shipped");
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_unit_waits_for_the_drain_and_leaves_sessions_free() {
    let unit = settings("postern.service");
    let config = daemon::config::parse("f", "version: v3\n", "host").expect("valid");
    let stop: u64 = unit["TimeoutStopSec"].parse().expect("seconds");
    assert!(Duration::from_secs(stop) >= config.stop.delay + config.stop.drain + Duration::from_secs(20));
    for (name, value) in
        [("Delegate", "yes"), ("KillMode", "mixed"), ("Restart", "always"), ("OOMPolicy", "continue")]
    {
        assert_eq!(unit[name], value, "{name}");
    }
    // All of these would hold for sessions as well.
    let confining = [
        "Protect",
        "Private",
        "Restrict",
        "NoNew",
        "System",
        "Capability",
        "Read",
        "Memory",
        "User",
        "UMask",
    ];
    let found: Vec<_> =
        unit.keys().filter(|name| confining.iter().any(|word| name.starts_with(word))).collect();
    assert!(found.iter().all(|name| *name == "RestartSec"), "{found:?}");
}

#[test]
fn systemd_understands_the_unit_and_what_is_added_to_it() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: no systemd-analyze");
    }
    let place = tempfile::tempdir().expect("a directory");
    let unit = fs::read_to_string(tree().join("dist/systemd/postern.service")).expect("is shipped");
    // It looks whether the program is there.
    let unit = unit.replace("/usr/local/bin/postern", env!("CARGO_BIN_EXE_postern"));
    let path = place.path().join("postern.service");
    for added in [false, true] {
        fs::write(&path, &unit).expect("written");
        if added {
            let directory = place.path().join("postern.service.d");
            fs::create_dir(&directory).expect("made");
            fs::copy(tree().join("dist/systemd/without-node.conf"), directory.join("without-node.conf"))
                .expect("copied");
        }
        let verified =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().expect("runs");
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        let about_it: Vec<_> = said.lines().filter(|line| line.contains("postern")).collect();
        assert!(about_it.is_empty(), "{said}");
    }
}

#[test]
fn what_is_taken_from_root_is_not_needed_without_a_node() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SKIPPED: needs root to have less of it");
    }
    let home = tempfile::tempdir().expect("a directory");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let data = home.path().join("data");
    let config = home.path().join("postern.yaml");
    let text = format!(
        "version: v3\npostern: {{data_dir: {}, diag_addr: \"127.0.0.1:0\"}}\n\
         auth_service: {{cluster_name: a.example, listen_addr: \"127.0.0.1:0\"}}\n\
         proxy_service: {{enabled: yes, web_listen_addr: \"127.0.0.1:0\"}}\nssh_service: {{enabled: no}}\n",
        data.display()
    );
    fs::write(&config, text).expect("written");
    let kept = settings("without-node.conf")["CapabilityBoundingSet"].to_lowercase();
    let kept: Vec<String> =
        kept.split(' ').map(|name| format!("+{}", name.trim_start_matches("cap_"))).collect();
    for _ in 0..2 {
        let mut daemon = Command::new("setpriv")
            .args([
                "--bounding-set",
                &format!("-all,{}", kept.join(",")),
                "--no-new-privs",
                env!("CARGO_BIN_EXE_postern"),
            ])
            .args(["start", "-c"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let begun = Instant::now();
        let serves =
            || fs::read_to_string(data.join("endpoints.json")).is_ok_and(|text| text.contains("proxy"));
        while !serves() {
            assert!(begun.elapsed() < Duration::from_secs(60) && daemon.try_wait().expect("ours").is_none());
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("is alive");
        assert!(daemon.wait().expect("ends").success());
    }
}

#[test]
fn the_programs_are_installed_side_by_side() {
    let built = Path::new(env!("CARGO_BIN_EXE_postern")).parent().expect("a directory");
    if PROGRAMS.iter().any(|program| !built.join(program).exists())
        || Command::new("make").arg("--version").output().is_err()
    {
        return eprintln!("SKIPPED: not all programs are built, or there is no make");
    }
    let place = tempfile::tempdir().expect("a directory");
    let made = Command::new("make")
        .args(["install", "PREFIX=/opt/postern"])
        .arg(format!("OUT={}", built.display()))
        .arg(format!("DESTDIR={}", place.path().display()))
        .current_dir(tree())
        .output()
        .expect("runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for program in PROGRAMS {
        let found = fs::metadata(place.path().join("opt/postern/bin").join(program)).expect("is installed");
        assert_eq!(found.permissions().mode() & 0o777, 0o755, "{program}");
    }
    let unit = fs::read_to_string(place.path().join("opt/postern/lib/systemd/system/postern.service"))
        .expect("is installed");
    assert!(unit.contains("ExecStart=/opt/postern/bin/postern start"), "{unit}");
}
