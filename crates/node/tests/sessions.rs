//! Sessions on a node, with the `ssh`, `sftp` and `scp` of OpenSSH.

mod support;

use std::io::Write;
use std::process::Stdio;

use serde_json::json;
use support::{Fixture, NODENAME, login, run, text, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_as_the_login_user_and_are_recorded() {
    let node = Fixture::start().await;
    let output = node.run("id -un; echo err >&2; exit 7").await;
    assert_eq!((text(&output.stdout), text(&output.stderr)), (format!("{}\n", login()), "err\n".to_owned()));
    assert_eq!(output.status.code(), Some(7));
    let start = node.event("session.start", |_| true).await;
    assert_eq!(start["initial_command"], json!(["id -un; echo err >&2; exit 7"]));
    for (field, value) in
        [("code", "T2000I"), ("user", "alice"), ("login", &login()), ("server_hostname", NODENAME)]
    {
        assert_eq!(start[field], value, "{field}");
    }
    assert_eq!(start["server_labels"], json!({"env": "prod"}));
    let exec = node.event("exec", |_| true).await;
    assert_eq!(
        (&exec["code"], &exec["exitCode"], &exec["sid"]),
        (&json!("T3002E"), &json!("7"), &start["sid"])
    );
    let end = node.event("session.end", |_| true).await;
    assert_eq!(
        (&end["code"], &end["sid"], &end["interactive"]),
        (&json!("T2004I"), &start["sid"], &json!(false))
    );
    let data = node.event("session.data", |_| true).await;
    assert!(data["rx"].as_u64() > Some(1000) && data["tx"].as_u64() > Some(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_by_signals_are_told() {
    let node = Fixture::start().await;
    let output = node.run("kill -TERM $$").await;
    assert_eq!(output.status.code(), Some(255));
    let exec = node.event("exec", |_| true).await;
    assert_eq!(exec["exitError"], "signal: TERM");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_ends_where_the_client_s_ends() {
    let node = Fixture::start().await;
    assert_eq!(text(&node.run("cat; echo done").await.stdout), "done\n");
    // A background process that holds nothing open does not hold the session open.
    assert_eq!(text(&node.run("sleep 1000 >/dev/null 2>&1 </dev/null & echo out").await.stdout), "out\n");
    let mut ssh = node.ssh("alice");
    ssh.args([NODENAME, "head -c 3; echo"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    assert_eq!(text(&feed(ssh, vec![b'a'; 5 << 20]).await), "aaa\n");
}

/// Runs a command with this input; what it says.
async fn feed(mut command: std::process::Command, input: Vec<u8>) -> Vec<u8> {
    let work = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
        let output = child.wait_with_output().expect("ends");
        writer.join().expect("joins");
        output.stdout
    });
    work.await.expect("joins")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_data_goes_either_way() {
    let node = Fixture::start().await;
    const SIZE: usize = 50 << 20;
    assert_eq!(node.run(&format!("head -c {SIZE} /dev/zero")).await.stdout.len(), SIZE);
    let mut ssh = node.ssh("alice");
    ssh.args([NODENAME, "wc -c"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    assert_eq!(text(&feed(ssh, vec![b'a'; SIZE]).await).trim(), SIZE.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals_have_their_size_name_and_modes() {
    let node = Fixture::start().await;
    // `script` gives ssh a terminal, whose size and modes it then passes on.
    let mut ssh = node.ssh("alice");
    ssh.args(["-tt", NODENAME, "tty; stty size; stty -a | grep -o -- '-echo '; echo $TERM $SSH_TTY; exit 3"]);
    let line: Vec<String> = std::iter::once("ssh".to_owned())
        .chain(ssh.get_args().map(|arg| format!("'{}'", arg.to_string_lossy().replace('\'', "'\\''"))))
        .collect();
    let mut script = std::process::Command::new("script");
    let inner = format!("stty rows 33 cols 77 -echo; exec {}", line.join(" "));
    script.args(["-qec", &inner, "/dev/null"]).env("TERM", "vt220").stdin(Stdio::null());
    let output = run(script).await;
    let said = text(&output.stdout).replace('\r', "");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{said}");
    assert_eq!(&lines[1..3], ["33 77", "-echo "], "{said}");
    assert_eq!(lines[3], format!("vt220 {}", lines[0]), "{said}");
    assert_eq!(output.status.code(), Some(3));
    let start = node.event("session.start", |_| true).await;
    assert_eq!((&start["size"], &start["interactive"]), (&json!("77:33"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_is_a_login_shell() {
    let node = Fixture::start().await;
    let mut ssh = node.ssh("alice");
    ssh.arg(NODENAME).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let said = text(&feed(ssh, b"echo $0; exit 4\n".to_vec()).await);
    assert!(said.starts_with('-'), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_is_the_node_s_and_the_client_s_where_harmless() {
    let node = Fixture::start().await;
    let mut ssh = node.ssh("alice");
    ssh.args([
        "-o",
        "SetEnv=LANG=de_DE.UTF-8 LC_TIME=C LD_PRELOAD=x BASH_ENV=x PATH=x FOO=x SSH_SESSION_ID=x IFS=x",
    ]);
    ssh.args([NODENAME, "env"]);
    let said = text(&run(ssh).await.stdout);
    let env: std::collections::BTreeMap<&str, &str> =
        said.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!((env["LANG"], env["LC_TIME"], env["SSH_TELEPORT_USER"]), ("de_DE.UTF-8", "C", "alice"));
    assert_eq!((env["SSH_TELEPORT_CLUSTER_NAME"], env["USER"]), ("example.com", login().as_str()));
    let start = node.event("session.start", |_| true).await;
    assert_eq!(start["sid"], env["SSH_SESSION_ID"]);
    let port = node.address.port().to_string();
    assert!(
        env["SSH_CONNECTION"].starts_with("127.0.0.1 ") && env["SSH_CONNECTION"].ends_with(&port),
        "{said}"
    );
    for name in ["LD_PRELOAD", "BASH_ENV", "FOO", "IFS", "CARGO_MANIFEST_DIR", "SSH_TTY"] {
        assert!(!env.contains_key(name), "{name}");
    }
    assert_ne!(env["PATH"], "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_copied_by_sftp_and_by_scp_old_and_new() {
    let node = Fixture::start().await;
    let (here, there) = (node.pki.path("here"), node.pki.path("there"));
    std::fs::write(&here, vec![b'x'; 300_000]).expect("written");
    for args in [vec!["-q"], vec!["-q", "-O"]] {
        let mut scp = node.client("scp", "alice");
        scp.args(&args).arg(&here).arg(format!("{NODENAME}:{}", there.display()));
        let output = run(scp).await;
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        assert_eq!(std::fs::read(&there).expect("copied").len(), 300_000, "{args:?}");
        std::fs::remove_file(&there).expect("removed");
    }
    let mut sftp = node.client("sftp", "alice");
    sftp.args(["-b", "-", NODENAME]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let batch = format!("put {} {}\nls -1 {}\n", here.display(), there.display(), there.display());
    let said = text(&feed(sftp, batch.into_bytes()).await);
    assert!(said.contains("there") && there.exists(), "{said}");
    let ended = node.event("subsystem", |_| true).await;
    assert_eq!((&ended["name"], &ended["code"]), (&json!("sftp"), &json!("T3001I")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_copying_is_off_it_is_refused_with_a_reason() {
    let node = Fixture::start_with(json!({"ssh_file_copy": false}), |_| {}).await;
    let file = node.pki.path("file");
    std::fs::write(&file, "x").expect("written");
    for (args, event) in [(vec!["-q"], "sftp"), (vec!["-q", "-O"], "scp")] {
        let mut scp = node.client("scp", "alice");
        scp.args(&args).arg(&file).arg(format!("{NODENAME}:{}", node.pki.path("copy").display()));
        let output = run(scp).await;
        assert!(!output.status.success(), "{args:?}");
        node.event(event, |event| event["success"] == false).await;
    }
    assert!(!node.pki.path("copy").exists());
    let output = node.run("scp -t /tmp").await;
    assert!(text(&output.stderr).contains("file_copy_not_allowed"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    assert!(node.run("true").await.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_share_a_connection_up_to_their_limit() {
    let node = Fixture::start_with(json!({"max_sessions": 2}), |_| {}).await;
    let socket = node.pki.path("control");
    let control = format!("ControlPath={}", socket.display());
    let mut master = node.ssh("alice");
    master.args(["-o", "ControlMaster=yes", "-o", &control, NODENAME, "echo up; cat"]);
    master.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut master = tokio::process::Command::from(master).kill_on_drop(true).spawn().expect("runs");
    until("the master", || socket.exists()).await;
    let second = |line: &str| {
        let mut ssh = node.ssh("alice");
        ssh.args(["-o", &control, NODENAME, line]);
        ssh
    };
    assert_eq!(text(&run(second("echo two")).await.stdout), "two\n");
    let mut holding = second("cat");
    holding.stdin(Stdio::piped());
    let mut holding = holding.spawn().expect("runs");
    node.event("session.start", |event| event["initial_command"] == json!(["cat"])).await;
    // Not with `status`: ssh then falls back to a connection of its own, which is allowed.
    let output = run(second("echo three")).await;
    assert_eq!(text(&output.stdout), "three\n");
    let rejected = node.event("session.rejected", |_| true).await;
    assert_eq!((&rejected["reason"], &rejected["max"]), (&json!("max_sessions limit reached"), &json!(2)));
    drop(holding.stdin.take());
    assert!(holding.wait().expect("ends").success());
    drop(master.stdin.take());
    assert!(master.wait().await.expect("ends").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_closes_its_output_first_still_ends_by_itself() {
    let node = Fixture::start().await;
    let socket = node.pki.path("control");
    let control = format!("ControlPath={}", socket.display());
    let mut master = node.ssh("alice");
    master.args(["-N", "-o", "ControlMaster=yes", "-o", &control, NODENAME]);
    let _master = tokio::process::Command::from(master).kill_on_drop(true).spawn().expect("runs");
    until("the master", || socket.exists()).await;
    // A shared connection's client closes a channel as soon as neither side has anything more to send.
    let mut ssh = node.ssh("alice");
    ssh.args(["-o", &control, NODENAME, "exec >&- 2>&-; sleep 0.3; exit 7"]);
    assert_eq!(run(ssh).await.status.code(), Some(7));
    assert_eq!(node.event("exec", |_| true).await["exitCode"], "7");
}

/// A process whose client goes away without a word; its number.
async fn left_by_its_client(node: &Fixture, options: &[&str], line: &str) -> u32 {
    let mark = node.pki.path(&format!("pid-{}", options.len()));
    let mut ssh = node.ssh("alice");
    ssh.args(options).args([NODENAME, &format!("echo $$ > {}; {line}", mark.display())]);
    let mut ssh = ssh.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
    let mut pid = None;
    until("the process", || {
        pid = std::fs::read_to_string(&mark).unwrap_or_default().trim().parse().ok();
        pid.is_some()
    })
    .await;
    ssh.kill().expect("killed");
    ssh.wait().expect("ends");
    pid.expect("a number")
}

fn lives(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_hangs_its_processes_up_when_the_client_goes() {
    let node = Fixture::start().await;
    let pid = left_by_its_client(&node, &["-tt"], "exec sleep 1000").await;
    until("the end of the process", || !lives(pid)).await;
    let end = node.event("session.end", |event| event.contains_key("reason")).await;
    assert_eq!(end["reason"], "the client went away");
    assert_eq!(node.event("exec", |_| true).await["exitError"], "signal: HUP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_terminal_processes_find_their_input_ended_and_are_left_alone() {
    let node = Fixture::start().await;
    let reader = left_by_its_client(&node, &[], "exec cat").await;
    until("the end of what reads", || !lives(reader)).await;
    assert_eq!(node.event("exec", |_| true).await["exitCode"], "0");
    let deaf = left_by_its_client(&node, &["-v"], "exec sleep 1000").await;
    let exec = node.event("exec", |event| event.contains_key("exitError")).await;
    assert_eq!((&exec["exitCode"], &exec["exitError"]), (&json!("255"), &json!("still running")));
    assert!(lives(deaf));
    // Nobody waits for it any more; it must not be left as a zombie all the same.
    std::process::Command::new("kill").arg(deaf.to_string()).status().expect("runs");
    until("the end of the process", || !lives(deaf)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_of_a_shared_connection_has_left_goes_on_as_well() {
    let node = Fixture::start().await;
    let control = node.pki.path("control");
    let shared = format!("ControlPath={}", control.display());
    let mut master = node.ssh("alice");
    master.args(["-N", "-o", "ControlMaster=yes", "-o", &shared, NODENAME]);
    let mut master = tokio::process::Command::from(master).kill_on_drop(true).spawn().expect("runs");
    until("the control socket", || control.exists()).await;
    let deaf = left_by_its_client(&node, &["-o", &shared], "exec sleep 1000").await;
    // Longer than a session has to end by itself.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert!(lives(deaf), "while the connection is there");
    master.kill().await.expect("killed");
    let exec = node.event("exec", |event| event.contains_key("exitError")).await;
    assert_eq!(exec["exitError"], json!("still running"));
    assert!(lives(deaf), "and when it is not");
    std::process::Command::new("kill").arg(deaf.to_string()).status().expect("runs");
    until("the end of the process", || !lives(deaf)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_no_more_sessions_at_once_than_it_can() {
    let node = Fixture::start_with(json!({}), |config| {
        config.limits.launches = 0;
        config.limits.launch_wait = std::time::Duration::from_millis(10);
    })
    .await;
    let output = node.run("true").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("try again later (node_busy)"), "{}", text(&output.stderr));
    assert_eq!(node.event("exec", |_| true).await["denial"], "node_busy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_without_an_account_is_told_so() {
    let node = Fixture::start().await;
    let mut alice = support::user("alice");
    alice.logins = vec![access::Login::new("no-such-account").expect("a login")];
    node.pki.certify("ghost", alice, |_| {});
    let mut ssh = node.ssh("ghost");
    ssh.args(["-l", "no-such-account", NODENAME, "true"]);
    let output = run(ssh).await;
    assert_eq!(output.status.code(), Some(255));
    let words = text(&output.stderr);
    assert!(words.contains("Failed to launch: unknown account \"no-such-account\""), "{words}");
    assert!(words.contains("(unknown_account)."), "{words}");
    let exec = node.event("exec", |_| true).await;
    assert_eq!((&exec["code"], &exec["denial"]), (&json!("T3002E"), &json!("unknown_account")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_what_it_is() {
    let node = Fixture::start_with(json!({}), |config| {
        let command = |name: &str, argv: &[&str]| node::CommandLabel {
            name: name.to_owned(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            period: std::time::Duration::from_secs(3600),
        };
        config.commands = vec![command("kernel", &["echo", "linux"])];
        config.public_addrs = vec!["web.example.com:3022".to_owned()];
    })
    .await;
    until("the report", || node.report.lock().expect("a lock").is_some()).await;
    let report = node.report.lock().expect("a lock").clone().expect("said");
    assert_eq!((report.hostname.as_str(), report.addr), (NODENAME, node.address.to_string()));
    assert_eq!(report.public_addrs, ["web.example.com:3022"]);
    assert_eq!((report.labels["env"].as_str(), report.command_labels["kernel"].as_str()), ("prod", "linux"));
    assert!(!report.labels.contains_key("kernel") && !report.version.is_empty());
    // Decided by as well.
    node.run("true").await;
    let start = node.event("session.start", |_| true).await;
    assert_eq!(start["server_labels"], json!({"env": "prod", "kernel": "linux"}));
}
