//! Sessions on a node beside sessions on stock sshd: the same `ssh` with the same input must end in the same way, with
//! the same bytes on either stream.

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::pipe::{DEADLINE, Server, within};
use support::text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// How long something to wait for may take, so that it is said what was.
const PAUSE: Duration = Duration::from_secs(30);

/// One way to use `ssh`. Without a line it is a login shell.
struct Row {
    options: &'static [&'static str],
    line: Option<&'static str>,
    /// What is sent once this was read; at last the input ends.
    talk: Vec<(&'static str, Vec<u8>)>,
}

fn run(line: &'static str) -> Row {
    with(&[], line)
}

fn with(options: &'static [&'static str], line: &'static str) -> Row {
    Row { options, line: Some(line), talk: Vec::new() }
}

fn fed(line: &'static str, input: impl Into<Vec<u8>>) -> Row {
    Row { talk: vec![("", input.into())], ..run(line) }
}

impl Row {
    fn then(mut self, seen: &'static str, sent: &str) -> Self {
        self.talk.push((seen, sent.as_bytes().to_vec()));
        self
    }

    fn name(&self) -> String {
        format!("ssh {} {:?}", self.options.join(" "), self.line)
    }
}

/// What a user has of it in the end.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

async fn outcome(server: &Server, row: &Row) -> Outcome {
    let mut ssh = server.ssh(row.options, row.line.unwrap_or_default());
    if row.line.is_none() {
        ssh = server.shell(row.options);
    }
    ssh.env("TERM", "dumb").stdin(Stdio::piped()).stderr(Stdio::piped());
    let name = row.name();
    within(DEADLINE, &name, async {
        let mut child = ssh.spawn().expect("runs");
        let mut input = child.stdin.take().expect("a pipe");
        let (mut output, mut errors) =
            (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let errors = tokio::spawn(async move {
            let mut stderr = Vec::new();
            errors.read_to_end(&mut stderr).await.expect("read");
            stderr
        });
        let (mut stdout, mut looked) = (Vec::new(), 0);
        for (seen, sent) in &row.talk {
            while !seen.is_empty() {
                if let Some(at) = find(&stdout[looked..], seen) {
                    looked += at + seen.len();
                    break;
                }
                let read = tokio::time::timeout(PAUSE, output.read_buf(&mut stdout)).await;
                let read = read
                    .unwrap_or_else(|_| panic!("{name}: waited in vain for {seen:?}: {:?}", text(&stdout)));
                let count = read.expect("read");
                assert!(count > 0, "{name}: ended without {seen:?}: {}", text(&stdout));
            }
            // A process is free not to read.
            let _ = input.write_all(sent).await;
        }
        drop(input);
        output.read_to_end(&mut stdout).await.expect("read");
        let code = child.wait().await.expect("ends").code();
        Outcome { code, stdout, stderr: text(&errors.await.expect("joins")) }
    })
    .await
}

fn find(bytes: &[u8], words: &str) -> Option<usize> {
    bytes.windows(words.len()).position(|window| window == words.as_bytes())
}

/// Both servers, asked the same.
async fn compare(rows: Vec<Row>) {
    let (node, stock) = (Server::node().await, Server::stock("AcceptEnv LANG LC_*"));
    for row in rows {
        let (ours, theirs) = (outcome(&node, &row).await, outcome(&stock, &row).await);
        assert_eq!(said(&ours), said(&theirs), "{}", row.name());
    }
}

/// For people, and the same where they are the same.
fn said(outcome: &Outcome) -> (Option<i32>, String, &str) {
    let stdout = match outcome.stdout.len() {
        0..4096 => text(&outcome.stdout),
        length => format!(
            "{length} bytes, sum {}",
            outcome.stdout.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte))
        ),
    };
    (outcome.code, stdout, &outcome.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_and_signals() {
    compare(vec![
        run("exit 0"),
        run("exit 1"),
        run("exit 42"),
        run("exit 254"),
        run("exit 255"),
        run("exit 256"),
        run("no-such-command"),
        run("/etc/passwd"),
        run(""),
        run("kill -TERM $$"),
        run("kill -9 $$"),
        run("kill -HUP $$"),
        run("kill -PIPE $$"),
        run("kill -USR1 $$"),
        run("ulimit -c 0; kill -SEGV $$"),
        run("kill -PROF $$"),
        run("echo before; kill -9 $$"),
        with(&["-tt"], "exit 3"),
        with(&["-tt"], "kill -9 $$"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_have_their_names_and_tell_of_core_images() {
    // `ssh -vv` does not tell what the message says, so only that it is one.
    compare(vec![
        with(&["-o", "LogLevel=QUIET"], "kill -ABRT $$"),
        with(&["-q"], "kill -INT $$; echo survived"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_and_output() {
    let all: Vec<u8> = (0..=255u8).cycle().take(256 * 64).collect();
    let many: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    compare(vec![
        run("cat"),
        with(&["-n"], "cat; echo done"),
        fed("cat", all.clone()),
        fed("cat >&2", b"only errors\n".to_vec()),
        fed("cat", many.clone()),
        fed("head -c 3; echo; exit 5", many.clone()),
        fed("exec <&-; sleep 0.2; echo still here", many),
        fed("wc -c; sleep 0.1; echo after", all),
        run("echo out; echo err >&2; exit 7"),
        run("for i in 1 2 3 4 5; do echo out $i; done; for i in 1 2 3 4 5; do echo err $i >&2; done"),
        run("exec >&-; sleep 0.1; echo err >&2; exit 6"),
        run("exec 2>&-; sleep 0.1; echo out; exit 6"),
        run("exec >&- 2>&-; sleep 0.2; exit 6"),
        run("head -c 300000 /dev/zero >&2; echo out; head -c 300000 /dev/zero"),
        run("cat <&- ; echo $?"),
        run("echo to stdout > /dev/stdout; echo to stderr > /dev/stderr"),
        with(&["-T"], "echo no terminal; tty"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_in_the_background() {
    compare(vec![
        // Whoever holds the output open is waited for, and nobody else.
        run("sleep 1000 >/dev/null 2>&1 </dev/null & echo out; kill %1"),
        run("(sleep 0.3; echo late) & echo early"),
        run("(sleep 0.3; echo late >&2) & exec >&-; exit 4"),
        run("nohup sh -c 'sleep 0.3; echo late' 2>/dev/null & echo early"),
        with(&["-f"], "sleep 0.2; echo from the background"),
        with(&["-fn"], "cat; echo read nothing"),
        with(&["-tt"], "sleep 0.3 & echo out"),
        with(&["-tt"], "nohup sleep 1 >/dev/null 2>&1 & echo out; exit 2"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shells() {
    let shell = |options| Row { options, line: None, talk: Vec::new() };
    compare(vec![
        shell(&["-T"]).then("", "echo $0 $SHLVL $-; pwd; exit 4\n"),
        shell(&["-T"]).then("", "cat\nrest of the input\n"),
        shell(&["-T"]),
        run("echo $0 $# $-; pwd; umask; ulimit -a; nice; echo $SHLVL"),
        run("echo $HOME $USER $LOGNAME $SHELL $MAIL $TERM $SSH_TTY"),
        run("echo \"$SSH_CONNECTION\" | cut -d' ' -f1,3; set -- $SSH_CLIENT; echo $# $1; [ -t 0 ] || echo no"),
        with(&["-o", "SetEnv=LC_TIME=C LANG=C LC_x=1 FOO=x PATH=x"], "echo $LC_TIME $LANG $LC_x $FOO; echo ${PATH##x}"),
        with(&["-tt", "-o", "SetEnv=TERM=vt220"], "echo $TERM; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo terminal"),
        run("echo \"it's\" '$HOME' \\\\ \"a  b\"; printf '%s\\n' \"\u{e4}\u{2603}\""),
        run("grep -E '^SigBlk|^Cap(Inh|Amb)|^Seccomp:|^NoNewPrivs' /proc/self/status; ls /proc/self/fd | wc -l"),
        run("cat /proc/self/oom_score_adj; ps -o nice= -p $$; [ $(ps -o sid= -p $$) = $$ ] && echo leads"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminals() {
    let interrupt = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    let jobs = "PS1='go> ' exec bash --norc --noprofile -i";
    compare(vec![
        with(&["-tt"], interrupt).then("ready", "\u{3}"),
        with(&["-tt"], "trap 'echo quit; kill $!; exit 8' QUIT; sleep 1000 & echo ready; wait")
            .then("ready", "\u{1c}"),
        with(&["-tt"], "echo ready; cat; echo end $?").then("ready", "line\n").then("line", "\u{4}"),
        with(&["-tt"], "stty -echo; echo ready; read word; echo got $word").then("ready", "secret\n"),
        with(&["-tt"], "stty size; stty -a | tail -n +2"),
        with(&["-tt"], "echo out; echo err >&2; exit 3"),
        with(&["-tt"], "ps -o tpgid= -p $$ | grep -qw $$ && echo in the foreground; tty | sed 's/[0-9]*$//'"),
        with(&["-tt"], jobs)
            .then("go> ", "stty -echo; sh -c 'echo run''ning; read word'\n")
            .then("running", "\u{1a}")
            .then("Stopped", "kill -9 %1 $$\n"),
    ])
    .await;
}

/// What a login at a terminal reads first, apart from the time of the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greetings() {
    let (node, stock) = (Server::node().await, Server::stock("PrintMotd yes\nPrintLastLog yes"));
    let prompt = if rustix::process::geteuid().is_root() { "# " } else { "$ " };
    let row = Row { options: &["-tt"], line: None, talk: Vec::new() }.then(prompt, "exit 3\n");
    // The account has logged in before.
    outcome(&stock, &row).await;
    let (ours, theirs) = (outcome(&node, &row).await, outcome(&stock, &row).await);
    // Of Debian's sshd it is a PAM module that says this one.
    let made = std::fs::read_to_string("/run/motd.dynamic").unwrap_or_default().replace('\n', "\r\n");
    let without_time = |outcome: &Outcome| {
        let said = text(&outcome.stdout).replacen(if made.is_empty() { "\0" } else { &made }, "", 1);
        let lines = said.split_inclusive('\n').map(|line| match line.split_once(" from ") {
            Some((when, from)) if when.starts_with("Last login: ") && when.len() == 36 => {
                format!("Last login from {from}")
            }
            _ => line.to_owned(),
        });
        (outcome.code, lines.collect::<String>())
    };
    assert_eq!(without_time(&ours), without_time(&theirs));
    assert!(!rustix::process::geteuid().is_root() || text(&ours.stdout).contains("Last login: "), "{ours:?}");
}

/// A local terminal changes its size while something runs on the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_changes() {
    let (node, stock) = (Server::node().await, Server::stock(""));
    let mut said = Vec::new();
    for server in [&node, &stock] {
        let mark = server.pki().path("ready");
        let line = format!(
            "trap 'stty size; exit 6' WINCH; stty size; echo > {}; while :; do sleep 0.05; done",
            mark.display()
        );
        let ssh = server
            .ssh(&["-tt"], &line)
            .as_std()
            .get_args()
            .map(|arg| format!("'{}'", arg.to_string_lossy().replace('\'', "'\\''")))
            .collect::<Vec<_>>()
            .join(" ");
        let inner = format!(
            "stty rows 33 cols 77; (until [ -e {} ]; do sleep 0.05; done; stty rows 50 cols 100 </dev/tty) & exec ssh {ssh}",
            mark.display()
        );
        let mut script = Command::new("script");
        script.args(["-qec", &inner, "/dev/null"]).stdin(Stdio::null()).kill_on_drop(true);
        let output = within(DEADLINE, "a resize", script.output()).await.expect("runs");
        // What `script` makes of the end of its own input.
        said.push((output.status.code(), text(&output.stdout).replace("^@", "")));
    }
    assert_eq!(said[0], said[1]);
    assert!(said[0].1.contains("33 77\r\n50 100\r\n") && said[0].0 == Some(6), "{said:?}");
}

/// The variables of a session that are not sshd's are known, and none of sshd's is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn environments() {
    let (node, stock) = (Server::node().await, Server::stock(""));
    let names = async |server: &Server, options: &'static [&'static str]| {
        let all = outcome(server, &with(options, "exec env")).await;
        let mut names: Vec<String> =
            text(&all.stdout).lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect();
        names.sort_unstable();
        names
    };
    for options in [&[][..], &["-tt"]] {
        let (mut ours, theirs) = (names(&node, options).await, names(&stock, options).await);
        ours.retain(|name| name != "LANG" && name != "SSH_SESSION_ID" && !name.starts_with("SSH_TELEPORT_"));
        assert_eq!(ours, theirs);
    }
}
