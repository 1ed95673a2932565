//! What who owns the network process asks for, and does not get. The honest way works beside each.

mod support;

use std::os::fd::AsFd;
use std::time::Duration;

use exec::{Launch, Pty, SessionRequest, TerminalModes, WindowSize};
use jiff::{SignedDuration, Timestamp};
use launcher::protocol::{Answer, MAX_OPEN, Request};
use serde_json::json;
use ssh::algorithms::KeyAlgorithm;
use support::{Node, User, authorities, lock, login, policy, put_string, role, user};

fn command(line: &str) -> SessionRequest {
    SessionRequest::new(login(), Launch::Command(line.into()))
}

#[test]
fn the_honest_way_leads_to_a_session_as_the_user() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    assert_eq!(node.runs(&alice, "id -un").trim(), login());
    let session = node.session();
    let bound = node.proof(&alice, &login(), &session.id, true);
    let algorithm = KeyAlgorithm::of_name(b"ecdsa-sha2-nistp256-cert-v01@openssh.com").expect("a name");
    let blob = &alice.certificate;
    node.authenticate_as(algorithm, blob, &login(), &session, bound, true).expect("bound to the host key");
}

#[test]
fn nothing_runs_without_a_proof() {
    let node = Node::start();
    let session = node.session();
    for admission in [0, 1, 2, u64::MAX] {
        let denied = node.launch(admission, &session.connection, &command("id")).expect_err("refused");
        assert_eq!(denied.code, "not_admitted");
    }
    assert_eq!(node.runs(&User::of(&node.authorities), "echo beside").trim(), "beside");
}

#[test]
fn a_proof_counts_in_the_session_that_it_was_made_for() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    // Never signed here.
    let unsigned = node.connection(&node.host_key());
    let proof = node.proof(&alice, &login(), &unsigned.id, false);
    let denied = node.authenticate(&alice, &login(), &unsigned, proof).expect_err("refused");
    assert_eq!(denied.code, "unknown_session");
    // Made in another connection.
    let (one, other) = (node.session(), node.session());
    let proof = node.proof(&alice, &login(), &one.id, false);
    let denied = node.authenticate(&alice, &login(), &other, proof.clone()).expect_err("refused");
    assert_eq!(denied.code, "bad_proof");
    // Used up.
    node.authenticate(&alice, &login(), &one, proof.clone()).expect("admitted");
    let denied = node.authenticate(&alice, &login(), &one, proof).expect_err("refused");
    assert_eq!(denied.code, "unknown_session");
    // Given up.
    let gone = node.session();
    node.say(&Request::Forget(gone.id.clone()), &[]);
    let proof = node.proof(&alice, &login(), &gone.id, false);
    let denied = node.authenticate(&alice, &login(), &gone, proof).expect_err("refused");
    assert_eq!(denied.code, "unknown_session");
}

#[test]
fn what_a_user_said_to_another_server_is_of_no_use() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let elsewhere = Node::start();
    // The very session that alice has with the other one.
    let session = node.connection(&elsewhere.host_key());
    let refused = node.sign(session.record.hashed()).expect_err("not its key");
    assert!(refused.contains("another host key"), "{refused}");
    let proof = node.proof(&alice, &login(), &session.id, false);
    let denied = node.authenticate(&alice, &login(), &session, proof).expect_err("refused");
    assert_eq!(denied.code, "unknown_session");
}

#[test]
fn only_key_exchanges_are_signed() {
    let node = Node::start();
    let mut wrong_halves = Vec::new();
    for part in [b"a", &b"b"[..], b"c", b"d", &node.host_key(), &[1; 31], &[2; 32], b"secret"] {
        put_string(&mut wrong_halves, part);
    }
    for blob in [vec![7; 100], vec![7; 32], Vec::new(), wrong_halves] {
        let refused = node.sign(&blob).expect_err("not signed");
        assert!(refused.contains("no key exchange"), "{refused}");
    }
    let session = node.session();
    node.sign(session.record.hashed()).expect_err("signed before");
    assert_eq!(node.runs(&User::of(&node.authorities), "echo beside").trim(), "beside");
}

#[test]
fn certificates_that_are_not_good_admit_nobody() {
    let node = Node::start();
    let (ours, other, now) = (&node.authorities, authorities(), Timestamp::now());
    let hours = SignedDuration::from_hours;
    for (user, code) in [
        (User::of(&other), "untrusted_ca"),
        (user(ours, &["somebody-else"], now), "login_not_in_certificate"),
        (user(ours, &[&login()], now - hours(2)), "expired"),
        (user(ours, &[&login()], now + hours(2)), "not_yet_valid"),
    ] {
        assert!(node.refused(&user, &login()).contains(code), "{code}");
    }
    // Another login than the certificate's, and one that is no role's.
    assert!(node.refused(&User::of(ours), "daemon").contains("login_not_in_certificate"));
    assert_eq!(node.refused(&user(ours, &["daemon"], now), "daemon"), "login_not_allowed");
    let plain = User::of(ours);
    let session = node.session();
    for algorithm in KeyAlgorithm::ALL.into_iter().filter(|algorithm| !algorithm.certificate) {
        let (blob, signature) = (plain.key.public().blob(), Vec::new());
        let denied = node.authenticate_as(algorithm, &blob, &login(), &session, signature, false);
        assert_eq!(denied.expect_err("refused").code, "plain_key");
    }
    assert_eq!(node.runs(&plain, "echo beside").trim(), "beside");
}

#[test]
fn the_source_address_is_the_kernel_s_word() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let session = node.session();
    let proof = node.proof(&alice, &login(), &session.id, false);
    // Without a connection, and with something that is none.
    let (pipe, _writer) = std::io::pipe().expect("a pipe");
    for descriptors in [vec![], vec![pipe.as_fd()]] {
        let request = Request::Authenticate {
            ask: 1,
            session: session.id.clone(),
            login: login(),
            algorithm: KeyAlgorithm::ALL[1],
            blob: alice.certificate.clone(),
            is_host_bound: false,
            signature: proof.clone(),
            locks_fresh: true,
        };
        let Answer::Judged(_, outcome) = node.ask(&request, &descriptors) else { panic!("an answer") };
        assert_eq!(outcome.expect_err("refused").code, "no_connection");
    }
    node.authenticate(&alice, &login(), &session, proof).expect("with its connection");
}

#[test]
fn an_admission_is_good_while_its_own_connection_is() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let (session, admission) = node.log_in(&alice);
    let (other, _) = node.log_in(&alice);
    let denied = node.launch(admission, &other.connection, &command("id")).expect_err("refused");
    assert_eq!(denied.code, "other_connection");
    drop(session.client);
    let denied = node.launch(admission, &session.connection, &command("id")).expect_err("refused");
    assert_eq!(denied.code, "no_connection");
    let (session, admission) = node.log_in(&alice);
    node.say(&Request::Close(admission), &[]);
    let denied = node.launch(admission, &session.connection, &command("id")).expect_err("refused");
    assert_eq!(denied.code, "not_admitted");
}

#[test]
fn a_lock_counts_at_the_next_launch() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let (session, admission) = node.log_in(&alice);
    node.launch(admission, &session.connection, &command("true")).expect("still");
    while !matches!(node.hear(), Answer::Ended(..)) {}
    node.policy(policy(&node.authorities, 6, 90, vec![role(json!({})), lock()])).expect("in force");
    let denied = node.launch(admission, &session.connection, &command("id")).expect_err("refused");
    assert!(denied.reason.contains("stolen") || denied.code.contains("lock"), "{denied:?}");
    assert!(node.refused(&alice, &login()).contains("lock"));
    // The role is gone.
    node.policy(policy(&node.authorities, 7, 80, vec![])).expect("in force");
    node.launch(admission, &session.connection, &command("id")).expect_err("refused");
}

#[test]
fn a_lock_ends_what_runs_and_what_was_left_to_itself_without_the_node() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let long = || command("sleep 1000 & exec sleep 1000");
    let (session, admission) = node.log_in(&alice);
    let (running, io) = node.launch(admission, &session.connection, &long()).expect("runs");
    let (gone, admission) = node.log_in(&alice);
    let (left, left_io) = node.launch(admission, &gone.connection, &long()).expect("runs");
    drop(gone.client);
    node.say(&Request::Abandon(left.session), &[gone.connection.as_fd()]);
    // The same policy again ends nothing.
    node.policy(policy(&node.authorities, 6, 90, vec![role(json!({}))])).expect("in force");
    std::thread::sleep(Duration::from_millis(600));
    for pid in [running.pid, left.pid] {
        assert!(std::fs::exists(format!("/proc/{pid}")).expect("readable"), "{pid}");
    }
    node.policy(policy(&node.authorities, 7, 80, vec![role(json!({})), lock()])).expect("in force");
    // The end of the output is the end of the last process that held it.
    assert_eq!((support::output(io), support::output(left_io)), (String::new(), String::new()));
    assert!(matches!(node.hear(), Answer::Ended(ended, _) if ended == running.session));
}

#[test]
fn policies_are_the_cluster_s_and_get_newer_only() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let locked = || vec![role(json!({})), lock()];
    node.policy(policy(&node.authorities, 6, 90, locked())).expect("in force");
    let old = node.policy(policy(&node.authorities, 5, 100, vec![role(json!({}))])).expect_err("older");
    assert!(old.contains("older"), "{old}");
    // A store that was restored counts from an earlier revision, and is newer by its date; what was before does not come back.
    node.policy(policy(&node.authorities, 3, 80, locked())).expect("of a restored store");
    let old = node.policy(policy(&node.authorities, 6, 90, vec![role(json!({}))])).expect_err("older");
    assert!(old.contains("older"), "{old}");
    assert_eq!(node.policy(policy(&node.authorities, 3, 80, locked())), Ok(3), "the same");
    let other = authorities();
    let foreign = node.policy(policy(&other, 9, 0, vec![role(json!({}))])).expect_err("of somebody else");
    assert!(foreign.contains("not signed by a host authority"), "{foreign}");
    let (mut payload, signature) = policy(&node.authorities, 9, 0, vec![role(json!({}))]);
    payload.push(b' ');
    node.policy((payload, signature)).expect_err("changed");
    // Trust is taken once.
    let bundle = serde_json::to_vec(&other.trust_bundle(99)).expect("JSON");
    assert_eq!(node.ask(&Request::Trust(bundle), &[]), Answer::Policy(Ok(3)));
    node.policy(policy(&other, 9, 0, vec![role(json!({}))])).expect_err("still of somebody else");
    assert!(node.refused(&alice, &login()).contains("lock"), "as before");
}

#[test]
fn trust_and_policy_outlive_a_restart_and_so_does_the_host_key() {
    let node = Node::start();
    node.policy(policy(&node.authorities, 6, 90, vec![role(json!({})), lock()])).expect("in force");
    let (key, start) =
        (node.launcher.public_key.clone(), |directory: &std::path::Path| launcher::protocol::Start {
            directory: directory.join("launcher"),
            session_exec: testkit::programs::ours("session-exec"),
            host: access::HostId("11111111-2222-4333-8444-555555555555".parse().expect("an id")),
            labels: access::Labels::from_iter([("env", "prod")]),
            label_commands: std::collections::BTreeSet::new(),
            file_copy: true,
            port_forwarding: true,
            pam: None,
            user_env: false,
            session_limits: exec::Limits::capture().entries().to_vec(),
            login_grace: Duration::from_secs(30),
        });
    let Node { launcher, authorities: ours, directory, .. } = node;
    drop(launcher);
    let again = Node::beside(start(directory.path()), directory, ours);
    assert_eq!(again.launcher.public_key, key);
    assert!(again.refused(&User::of(&again.authorities), &login()).contains("lock"), "at once");
    again.policy(policy(&again.authorities, 5, 100, vec![role(json!({}))])).expect_err("older");
    again.policy(policy(&again.authorities, 7, 80, vec![role(json!({}))])).expect("newer");
    assert_eq!(again.runs(&User::of(&again.authorities), "echo again").trim(), "again");
}

#[test]
fn what_could_not_be_kept_is_kept_as_soon_as_it_can_be() {
    let node = Node::start();
    let directory = node.directory.path().join("launcher");
    // A draft that cannot be made, as on a full disk.
    let draft = directory.join(".trust.json.new");
    std::fs::create_dir_all(draft.join("in the way")).expect("made");
    let kept = || std::fs::read(directory.join("trust.json")).expect("kept");
    let before = kept();
    node.policy(policy(&node.authorities, 6, 90, vec![role(json!({})), lock()]))
        .expect("in force all the same");
    assert!(node.refused(&User::of(&node.authorities), &login()).contains("lock"));
    assert_eq!(kept(), before);
    std::fs::remove_dir_all(draft).expect("removed");
    for _ in 0..1000 {
        if kept() != before {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not kept");
}

#[test]
fn labels_of_the_configuration_are_not_the_node_s_to_say() {
    let node = Node::with(json!({}), |start| {
        start.labels = access::Labels::from_iter([("env", "dev")]);
        start.label_commands = ["arch".to_owned()].into();
    });
    let alice = User::of(&node.authorities);
    let said = [("env".to_owned(), "prod".to_owned()), ("arch".to_owned(), "x".to_owned())];
    node.say(&Request::Labels(said.into()), &[]);
    assert_eq!(node.refused(&alice, &login()), "node_not_allowed");
}

#[test]
fn what_runs_is_what_was_permitted() {
    let node = Node::with(json!({"ssh_file_copy": false}), |_| {});
    let alice = User::of(&node.authorities);
    let (session, admission) = node.log_in(&alice);
    let other = SessionRequest::new("nobody", Launch::Command(b"id".to_vec()));
    let mut terminal = command("id");
    terminal.pty =
        Some(Pty { term: "xterm".into(), size: WindowSize::default(), modes: TerminalModes::default() });
    for (request, code) in [
        (other, "other_login"),
        (SessionRequest::new(login(), Launch::Sftp), "file_copy_not_allowed"),
        (SessionRequest::new(login(), Launch::Sockets), "forwarding_not_allowed"),
        (terminal, "pty_not_allowed"),
    ] {
        let denied = node.launch(admission, &session.connection, &request).expect_err("refused");
        assert_eq!(denied.code, code);
    }
    assert_eq!(node.runs(&alice, "id -un").trim(), login());
}

#[test]
fn who_and_from_where_is_not_the_node_s_to_say() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let (session, admission) = node.log_in(&alice);
    let mut request = command("echo $SSH_TELEPORT_USER $SSH_CLIENT $SSH_CONNECTION");
    for name in ["SSH_TELEPORT_USER", "SSH_CLIENT", "SSH_CONNECTION"] {
        request.trusted_env.push((name.to_owned(), "forged".to_owned()));
    }
    let (_, io) = node.launch(admission, &session.connection, &request).expect("runs");
    let said = support::output(io);
    let from = session.client.local_addr().expect("connected").port();
    assert!(said.starts_with("alice ") && !said.contains("forged"), "{said}");
    assert!(said.contains(&format!("127.0.0.1 {from} ")), "{said}");
}

#[test]
fn open_sessions_and_attempts_are_bounded() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let one = node.session();
    let proof = vec![0; 64];
    let codes: Vec<_> = (0..40)
        .map(|_| node.authenticate(&alice, &login(), &one, proof.clone()).expect_err("refused").code)
        .collect();
    assert_eq!((&*codes[0], &*codes[39]), ("bad_proof", "too_many_attempts"));
    let (mut signed, mut first) = (0, None);
    for number in 0..10_000u32 {
        let mut hashed = Vec::new();
        let number = number.to_be_bytes();
        let key = node.host_key();
        for part in [&number[..], b"flood", b"c", b"d", &key, &[1; 32], &[2; 32], b"secret"] {
            put_string(&mut hashed, part);
        }
        if node.sign(&hashed).is_ok() {
            signed += 1;
            first.get_or_insert(hashed);
        }
    }
    assert_eq!(signed, MAX_OPEN - 1, "beside the one above");
    node.say(&Request::Forget(one.id), &[]);
    assert_eq!(node.runs(&alice, "echo beside").trim(), "beside");
}
