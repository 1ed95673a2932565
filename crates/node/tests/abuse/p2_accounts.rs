//! Row P2: a forward is as good as a login; accounts that cannot log in have none.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::forwarding::Echo;
use crate::support::{Fixture, NODENAME, resource, run, text, user};

const ACCOUNTS: [(&str, &str, &str); 4] = [
    ("nobody-here", "account_unusable", "does not exist on this host"),
    ("locked", "account_unusable", "is locked on this host"),
    ("expired", "account_unusable", "has expired on this host"),
    ("shellless", "account_unusable", "has no login shell on this host"),
];

/// Runs the test below where there are such accounts.
#[test]
fn p2_accounts_that_cannot_log_in_forward_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let host = |name: &str, more: &str| {
        let own = std::fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
        std::fs::write(directory.path().join(name), format!("{}\n{more}", own.trim_end())).expect("written");
    };
    let account = |name: &str, uid: u32, shell: &str| format!("{name}:x:{uid}:{uid}::/:{shell}\n");
    host(
        "passwd",
        &[
            account("locked", 61_021, "/bin/sh"),
            account("expired", 61_022, "/bin/sh"),
            account("shellless", 61_023, "/usr/sbin/nologin"),
        ]
        .concat(),
    );
    host("shadow", "locked:!$6$salt$hash:19000:0:99999:7:::\nexpired:*:19000:0:99999:7::1:\n");
    let within = |arguments: &[&std::ffi::OsStr]| {
        let enter = "mount --bind \"$0/passwd\" /etc/passwd && mount --bind \"$0/shadow\" /etc/shadow || exit 99; exec \"$@\"";
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", enter]);
        unshare.arg(directory.path()).args(arguments).output().expect("runs")
    };
    if !within(&["true".as_ref()]).status.success() {
        eprintln!("SKIPPED: needs root, unshare(1) and the right to mount, for accounts of its own");
        return;
    }
    let own = std::env::current_exe().expect("this program");
    let inner =
        ["--ignored", "--exact", "p2_accounts::on_a_host_with_such_accounts"].map(std::ffi::OsStr::new);
    let output = within(&[[own.as_os_str()].as_slice(), &inner].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "{}", text(&output.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only where there are such accounts; p2_accounts_that_cannot_log_in_forward_nothing makes them and runs it"]
async fn on_a_host_with_such_accounts() {
    let node = Fixture::start().await;
    let names = ACCOUNTS.map(|(name, ..)| name);
    let allow = json!({"logins": names, "node_labels": {"env": "prod"}});
    node.set_policy([resource("role", "v7", "ops", json!({"options": {}, "allow": allow}))]);
    let mut anybody = user("alice");
    anybody.logins = names.map(|name| access::Login::new(name).expect("a login")).into();
    node.pki.certify("anybody", anybody, |_| {});
    let echo = Echo::start().await;
    let path = node.pki.path("listener");
    for (account, denial, words) in ACCOUNTS {
        let ssh = |arguments: &[&str]| {
            let mut ssh = node.ssh("anybody");
            ssh.args(["-l", account]).args(arguments).arg(NODENAME);
            run(ssh)
        };
        let direct = ssh(&["-W", &echo.address.to_string()]).await;
        assert!(text(&direct.stderr).contains(words), "{account}: {}", text(&direct.stderr));
        for listen in [format!("0:{}", echo.address), format!("{}:{}", path.display(), echo.address)] {
            let remote = ssh(&["-N", "-o", "ExitOnForwardFailure=yes", "-R", &listen]).await;
            assert!(text(&remote.stderr).contains("remote port forwarding failed"), "{account}: {listen}");
        }
        for direction in ["local", "remote"] {
            let fits = |event: &serde_json::Map<String, Value>| {
                event["login"] == account && event["direction"] == direction
            };
            let event = node.event("port", fits).await;
            assert_eq!((&event["code"], &event["denial"]), (&json!("T3003E"), &json!(denial)), "{account}");
        }
    }
    assert!(echo.came() == 0 && !path.exists());
}
