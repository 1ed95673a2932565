//! Who does not get in, who is cut off, and that both are told and recorded.

mod support;

use std::process::{Output, Stdio};
use std::time::Duration;

use access::{Login, RoleName};
use identity::policy::Policy;
use serde_json::{Value, json};
use support::{Fixture, NODENAME, lock, login, ops, resource, run, text, user};
use tokio::net::TcpStream;

/// Refused with a reason that names this code, which also stands in the audit event.
async fn assert_told(node: &Fixture, output: &Output, code: &str) {
    assert_eq!(output.status.code(), Some(255));
    let words = text(&output.stderr);
    assert!(words.contains(&format!("({code})")), "{words}");
    let event = node.event("auth", |event| event["denial"] == code).await;
    assert_eq!((&event["code"], &event["success"]), (&json!("T3007W"), &json!(false)));
}

/// Refused without a word to the client.
fn assert_untold(output: &Output, code: &str) {
    assert_eq!(output.status.code(), Some(255));
    let words = text(&output.stderr);
    assert!(words.contains("Permission denied (publickey)") && !words.contains(code), "{words}");
}

/// A stranger, refused without a word and without a trace that would last.
fn assert_stranger(node: &Fixture, output: &Output, code: &str) {
    assert_untold(output, code);
    assert!(node.refusals(code) > 0, "counted");
    assert!(!node.saw("auth", |event| event["denial"] == code), "whoever likes could fill the audit log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_do_not_grant_it_refuse_with_a_reason() {
    let node = Fixture::start().await;
    let as_alice = || {
        let mut ssh = node.ssh("alice");
        ssh.args([NODENAME, "true"]);
        run(ssh)
    };
    let mut ssh = node.ssh("alice");
    ssh.args(["-l", "stranger", NODENAME, "true"]);
    assert_told(&node, &run(ssh).await, "login_not_allowed").await;

    let elsewhere = json!({"allow": {"logins": [login()], "node_labels": {"env": "test"}}});
    node.set_policy([resource("role", "v7", "ops", elsewhere)]);
    assert_told(&node, &as_alice().await, "node_not_allowed").await;

    let denied = json!({"allow": {"logins": [login()], "node_labels": {"*": "*"}}, "deny": {"node_labels": {"env": "prod"}}});
    node.set_policy([resource("role", "v7", "ops", denied)]);
    assert_told(&node, &as_alice().await, "node_denied_by_label").await;
    let event = node.event("auth", |event| event["denial"] == "node_denied_by_label").await;
    assert!(event["rule"].as_str().is_some_and(|rule| rule.contains("role \"ops\"")), "{event:?}");
    assert_eq!(event["user"], "alice");

    node.set_policy([]);
    assert_told(&node, &as_alice().await, "role_not_found").await;

    node.set_policy([ops(json!({}))]);
    assert!(as_alice().await.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_not_good_refuse_in_silence() {
    let node = Fixture::start().await;
    node.pki.certify("stranger", user("alice"), |certify| certify.authority = "other_ca");
    node.pki.certify("by-host-ca", user("alice"), |certify| certify.authority = "host_ca");
    node.pki.certify("forced", user("alice"), |certify| {
        certify.more = ["-O", "critical:force-command=true"].map(str::to_owned).into();
    });
    node.pki.certify("foreign", user("alice"), |certify| {
        let cluster =
            certify.claims.extensions.get_mut("teleport-route-to-cluster").expect("it names its cluster");
        *cluster = "other.example".to_owned();
    });
    node.pki.certify("expired", user("alice"), |certify| certify.validity = "-2h:-1h");
    let codes = [("forced", "unknown_critical_option"), ("foreign", "wrong_cluster"), ("expired", "expired")];
    for (name, code) in codes {
        let mut ssh = node.ssh(name);
        ssh.args([NODENAME, "true"]);
        assert_untold(&run(ssh).await, code);
        node.event("auth", |event| event["denial"] == code && event["user"] == "alice").await;
    }
    for name in ["stranger", "by-host-ca"] {
        let mut ssh = node.ssh(name);
        ssh.args([NODENAME, "true"]);
        assert_stranger(&node, &run(ssh).await, "untrusted_ca");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_ours_for_something_else_refuse_with_a_reason() {
    let node = Fixture::start().await;
    let mut other_login = user("alice");
    other_login.logins = vec![Login::new("stranger").expect("a login")];
    node.pki.certify("other-login", other_login, |_| {});
    let mut elsewhere = user("alice");
    elsewhere.pinned_ip = Some([192, 0, 2, 1].into());
    node.pki.certify("elsewhere", elsewhere, |_| {});
    let mut here = user("alice");
    here.pinned_ip = Some([127, 0, 0, 1].into());
    node.pki.certify("here", here, |_| {});
    for (name, code) in [("other-login", "login_not_in_certificate"), ("elsewhere", "wrong_source_address")] {
        let mut ssh = node.ssh(name);
        ssh.args([NODENAME, "true"]);
        assert_told(&node, &run(ssh).await, code).await;
    }
    let mut ssh = node.ssh("here");
    ssh.args([NODENAME, "true"]);
    assert!(run(ssh).await.status.success());
}

/// Starts something that would last, applies `cut`, and wants the client told `words` and the process gone.
async fn assert_cut(node: &Fixture, cut: impl FnOnce(), code: &str, words: &str) {
    let mark = node.pki.path("pid");
    let _ = std::fs::remove_file(&mark);
    let mut ssh = node.ssh("alice");
    ssh.args([
        NODENAME,
        &format!("trap '' HUP TERM; echo $$ > {}; while :; do sleep 1; done", mark.display()),
    ]);
    let client = tokio::spawn(run(ssh));
    let mut pid = String::new();
    support::until("the process", || {
        pid = std::fs::read_to_string(&mark).unwrap_or_default().trim().to_owned();
        !pid.is_empty()
    })
    .await;
    cut();
    let output = client.await.expect("joins");
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    support::until("the end of the process", || !std::path::Path::new(&format!("/proc/{pid}")).exists())
        .await;
    let event = node.event("client.disconnect", |event| event["denial"] == code).await;
    assert_eq!(event["code"], "T3006I");
    node.event("session.end", |event| {
        event.get("reason").and_then(Value::as_str).is_some_and(|reason| reason.contains(words))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_cuts_live_sessions_and_keeps_new_ones_out() {
    let node = Fixture::start().await;
    let words = "lock targeting User:\"alice\" is in force: stolen";
    let apply = || node.set_policy([ops(json!({})), lock(json!({"user": "alice"}))]);
    assert_cut(&node, apply, "locked", words).await;
    assert_told(&node, &node.run("true").await, "locked").await;
    for target in [
        json!({"role": "ops"}),
        json!({"login": login()}),
        json!({"server_id": "00000000-0000-0000-0000-000000000007"}),
    ] {
        node.set_policy([ops(json!({})), lock(target)]);
        assert_told(&node, &node.run("true").await, "locked").await;
    }
    node.set_policy([ops(json!({})), lock(json!({"user": "bob"}))]);
    assert!(node.run("true").await.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_cuts_shells_transfers_and_forwards_alike() {
    let node = Fixture::start().await;
    let mut clients = Vec::new();
    // The subsystem without sftp(1) in front, which sees the end of its ssh only when it next has something to say.
    for args in
        [vec!["-tt", NODENAME], vec!["-s", NODENAME, "sftp"], vec!["-N", "-R", "0:127.0.0.1:1", NODENAME]]
    {
        let mut client = node.ssh("alice");
        client.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        clients.push(client.spawn().expect("runs"));
    }
    node.event("session.start", |event| event["interactive"] == true).await;
    node.event("session.start", |event| event["initial_command"] == json!(["sftp"])).await;
    node.event("port", |event| event["success"] == true).await;
    node.set_policy([ops(json!({})), lock(json!({"login": login()}))]);
    for client in clients {
        // Their input stays open: nothing but the lock ends them.
        let ended = tokio::task::spawn_blocking(move || {
            let mut client = client;
            let input = client.stdin.take();
            let output = client.wait_with_output().expect("ends");
            drop(input);
            output
        });
        let output = ended.await.expect("joins");
        assert_eq!(output.status.code(), Some(255));
        assert!(text(&output.stderr).contains("is in force: stolen"), "{}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_taken_away_cuts_live_sessions() {
    let node = Fixture::start().await;
    assert_cut(&node, || node.set_policy([]), "role_not_found", "role \"ops\" not found").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_a_session_where_roles_say_so() {
    let node = Fixture::start().await;
    // Only now, so that a slow start of the session is no silence.
    let limit = || node.set_policy([ops(json!({"client_idle_timeout": "1s"}))]);
    assert_cut(&node, limit, "idle_timeout", "Client exceeded idle timeout of 1s").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_certificate_ends_the_session_where_roles_say_so() {
    let node = Fixture::start_with(json!({"disconnect_expired_cert": true}), |_| {}).await;
    let mut words = String::new();
    // As brief as this machine allows: a certificate that ends before the login is refused for that.
    for validity in ["-1m:+3s", "-1m:+10s", "-1m:+30s", "-1m:+90s"] {
        let name = format!("brief{validity}");
        node.pki.certify(&name, user("alice"), |certify| certify.validity = validity);
        let mut ssh = node.ssh(&name);
        ssh.args([NODENAME, "sleep 1000"]);
        words = text(&run(ssh).await.stderr);
        if words.contains("client certificate expired at") {
            break;
        }
    }
    assert!(words.contains("client certificate expired at"), "{words}");
    node.event("client.disconnect", |event| event["denial"] == "certificate_expired").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_locking_wants_a_fresh_view_and_best_effort_does_not() {
    let node = Fixture::start_with(json!({"lock": "strict"}), |_| {}).await;
    let partition = || *node.silence.lock().expect("a lock") = Duration::from_secs(301);
    assert_cut(&node, partition, "locks_stale", "preventive lock-out").await;
    assert_told(&node, &node.run("true").await, "locks_stale").await;
    node.set_policy([ops(json!({"lock": "best_effort"}))]);
    assert!(node.run("true").await.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_no_more_connections_than_roles_allow() {
    let node = Fixture::start_with(json!({"max_connections": 1}), |_| {}).await;
    let mut holding = node.ssh("alice");
    holding.args([NODENAME, "cat"]).stdin(Stdio::piped());
    let mut holding = holding.spawn().expect("runs");
    node.event("session.start", |_| true).await;
    let output = node.run("true").await;
    assert!(text(&output.stderr).contains("too many concurrent ssh connections"), "{}", text(&output.stderr));
    let event = node.event("session.rejected", |_| true).await;
    assert_eq!((&event["reason"], &event["max"]), (&json!("max_connections limit reached"), &json!(1)));
    drop(holding.stdin.take());
    holding.wait().expect("ends");
    node.event("session.data", |_| true).await;
    assert!(node.run("true").await.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_certificate_or_a_node_does_not_offer_is_refused_and_the_rest_goes_on() {
    let node = Fixture::start().await;
    let mut plain = user("alice");
    plain.permits.pty = false;
    node.pki.certify("plain", plain, |_| {});
    let mut ssh = node.ssh("plain");
    ssh.args(["-tt", NODENAME, "tty"]);
    let output = run(ssh).await;
    assert!(text(&output.stderr).contains("PTY allocation request failed"), "{}", text(&output.stderr));
    // Neither is offered by any role.
    let mut ssh = node.ssh("alice");
    ssh.args(["-A", "-Y", NODENAME, "echo ${SSH_AUTH_SOCK:-none} ${DISPLAY:-none}"]).env("DISPLAY", ":0");
    assert_eq!(text(&run(ssh).await.stdout), "none none\n");
    let mut ssh = node.ssh("alice");
    ssh.args(["-s", NODENAME, "nothing"]);
    assert!(text(&run(ssh).await.stderr).contains("subsystem request failed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_takes_nothing_new_and_ends_what_does_not_end() {
    let mut node =
        Fixture::start_with(json!({}), |config| config.limits.drain = Duration::from_millis(300)).await;
    let mut ssh = node.ssh("alice");
    ssh.args([NODENAME, "sleep 1000"]);
    let client = tokio::spawn(run(ssh));
    node.event("session.start", |_| true).await;
    node.shutdown.cancel();
    let output = client.await.expect("joins");
    assert!(text(&output.stderr).contains("this node is stopping"), "{}", text(&output.stderr));
    node.running.take().expect("ran").stopped().await.expect("as it was told");
    assert!(TcpStream::connect(node.address).await.is_err());
    node.event("session.end", |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_authority_counts_from_the_next_login_on() {
    let node = Fixture::start().await;
    node.pki.certify("new", user("alice"), |certify| certify.authority = "other_ca");
    let mut changed = Policy::clone(&node.policy.borrow().policy);
    changed.revision += 1;
    changed.trust.user.ssh =
        vec![ssh_key::PublicKey::from_openssh(&node.pki.read("other_ca.pub")).expect("a key")];
    node.put(changed);
    let mut ssh = node.ssh("new");
    ssh.args([NODENAME, "true"]);
    assert!(run(ssh).await.status.success());
    assert_stranger(&node, &node.run("true").await, "untrusted_ca");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_nobody_gave_is_of_no_use() {
    let node = Fixture::start().await;
    let mut other = user("bob");
    other.roles = vec![RoleName::new("other").expect("a name")];
    node.pki.certify("bob", other, |_| {});
    node.set_policy([ops(json!({})), resource("role", "v7", "other", json!({}))]);
    let mut ssh = node.ssh("bob");
    ssh.args([NODENAME, "true"]);
    assert_told(&node, &run(ssh).await, "node_not_allowed").await;
}
