//! How editors work over SSH (VS Code's Remote is the best known): one long-lived shell without a terminal that is fed
//! scripts and says where each ends, a dynamic forward beside it, and a program for the host, sent by a second command.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use testkit::process::run_with_input;
use testkit::until;
use testkit::wait::DEADLINE;

use super::story::{NO_SUCH_LOGIN, Story};

/// `ssh -T -D port host bash --login`, and what is sent to it.
struct Shell {
    ssh: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    socks: u16,
}

impl Shell {
    fn open(story: &Story, options: &[&str]) -> Self {
        // Taken and given back: ssh cannot be told to choose.
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let forward = format!("127.0.0.1:{port}");
        let mut ssh = story.bot.openssh("ssh", &["-T", "-D", &forward, "-o", "ExitOnForwardFailure=yes"]);
        ssh.args(options).args([&story.target(), "bash", "--login"]);
        let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ssh starts");
        let (input, output) = (ssh.stdin.take().expect("piped"), ssh.stdout.take().expect("piped"));
        Self { ssh, input, output: BufReader::new(output), socks: port }
    }

    /// Sends a script, and reads what it says up to its marker.
    fn says(&mut self, marker: &str, script: &str) -> String {
        writeln!(self.input, "{script}\necho {marker}:$?").expect("the shell reads");
        let mut said = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).expect("readable"), 0, "the shell ended: {said}");
            said += &line;
            if line.contains(marker) {
                return said;
            }
        }
    }

    /// A connection from the node to a port of its own, as SOCKS 5 has it.
    fn through(&self, port: u16) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.socks)).expect("ssh listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a connection");
        stream.write_all(&[5, 1, 0]).expect("written");
        stream.read_exact(&mut [0; 2]).expect("a method");
        stream
            .write_all(&[[5, 1, 0, 1, 127, 0, 0, 1].as_slice(), &port.to_be_bytes()].concat())
            .expect("written");
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer[1], 0, "refused");
        stream
    }

    fn end(mut self) {
        drop(self.input);
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("the end");
        let status = until("the shell to end", || self.ssh.try_wait().expect("our own child"));
        assert!(status.success(), "{status}: {rest}");
    }
}

/// What the editor's server would be: it greets and sends back.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut back = stream.try_clone().expect("a second handle");
                std::io::copy(&mut stream, &mut back).ok();
            });
        }
    });
    port
}

fn editing(story: &Story, options: &[&str]) {
    let port = server();
    let mut shell = Shell::open(story, options);
    // The first script looks around; each ends with a marker, whatever its status.
    let about = shell.says("11111", "uname -s; test -t 0 && echo terminal; printf 'no newline'; false");
    assert!(
        about.starts_with("Linux\nno newline11111:1") || about.starts_with("Linux\nno newline"),
        "{about}"
    );

    // The program for the host comes by a second command, in binary, while the shell waits.
    let program: Vec<u8> = (0..4_000_000u32).map(|at| (at % 253) as u8).collect();
    let there = story.text("agent.bin");
    let mut sending = story.bot.openssh("ssh", options);
    run_with_input(sending.arg(story.target()).arg(format!("cat > {there}")), &program).ok();
    let size = shell.says("22222", &format!("wc -c < {there}; cmp -s {there} {there} && chmod 700 {there}"));
    assert_eq!(size, "4000000\n22222:0\n");
    assert!(std::fs::read(&there).expect("arrived") == program);

    // Two connections over the forward at a time, used while scripts go on.
    let (mut one, mut two) = (shell.through(port), shell.through(port));
    for round in 0..50 {
        for (stream, name) in [(&mut one, "one"), (&mut two, "two")] {
            let sent = format!("{name} {round:06}");
            stream.write_all(sent.as_bytes()).expect("written");
            let mut back = vec![0; sent.len()];
            stream.read_exact(&mut back).expect("sent back");
            assert_eq!(back, sent.as_bytes());
        }
        assert_eq!(shell.says("33333", &format!("echo {round}")), format!("{round}\n33333:0\n"));
    }
    // With a connection over the forward ssh would stay.
    drop((one, two));
    shell.end();
}

#[test]
fn a_shell_that_stays_with_a_forward_beside_it() {
    editing(&Story::start(), &[]);
}

#[test]
fn the_same_over_one_shared_connection() {
    let story = Story::start();
    let path = format!("ControlPath={}", story.text("master"));
    editing(&story, &["-o", "ControlMaster=auto", "-o", &path]);
    let gone = story.bot.ssh(&["-o", &path, "-O", "check", &story.target()]).refused();
    assert!(gone.contains("No such file"), "{gone}");
}

#[test]
fn a_login_that_no_role_allows_gets_no_shell() {
    let story = Story::start();
    let refused = story.bot.ssh(&["-T", &story.forbidden(), "bash", "--login"]).refused();
    assert!(refused.contains(NO_SUCH_LOGIN), "{refused}");
}
