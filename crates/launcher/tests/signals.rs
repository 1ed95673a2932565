//! One client's signals to one session's many processes hold up nobody else.

mod support;

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use exec::{Launch, SessionIo, SessionRequest};
use launcher::protocol::{Answer, Request};
use serde_json::json;
use support::{Node, User, lock, login, policy, role};

const PROCESSES: usize = 400;
const SIGNALS: usize = 20_000;
/// What a login and a lock may wait beside that, on a busy machine too.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn a_flood_of_signals_holds_up_neither_logins_nor_locks() {
    let node = Node::start();
    let alice = User::of(&node.authorities);
    let (session, admission) = node.log_in(&alice);
    let line = format!(
        "trap 'echo told' USR1; trap '' USR2; for i in $(seq {PROCESSES}); do (trap '' USR1; exec sleep 1000) & done; \
         echo up; while :; do wait; done"
    );
    let request = SessionRequest::new(login(), Launch::Command(line.into()));
    let (running, io) = node.launch(admission, &session.connection, &request).expect("runs");
    let SessionIo::Pipes { stdin: _stdin, stdout, stderr: _stderr, .. } = io else { panic!("pipes") };
    rustix::io::ioctl_fionbio(&stdout, false).expect("a pipe");
    let mut lines = BufReader::new(std::fs::File::from(stdout)).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "up");
    let start = Instant::now();
    for _ in 0..SIGNALS / 2 {
        for name in ["USR1", "USR2"] {
            node.say(&Request::Signal(running.session, name.to_owned()), &[]);
        }
    }
    assert_eq!(node.runs(&alice, "echo beside").trim(), "beside");
    node.policy(policy(&node.authorities, 6, 90, vec![role(json!({})), lock()])).expect("in force");
    node.say(&Request::Kill(running.session), &[]);
    while !matches!(node.hear(), Answer::Ended(ended, _) if ended == running.session) {}
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert_eq!(lines.next().expect("a line").expect("text"), "told", "it did get some");
}
