//! `tbot ssh-proxy-command` as OpenSSH runs it, and as it does not: who closes what first, and what a script sees.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use testkit::programs::{command, ours};
use testkit::{Bot, Cluster, run, until};

fn with_bot() -> (Cluster, Bot) {
    let (cluster, bot) = Cluster::with_bot();
    bot.oneshot().ok();
    (cluster, bot)
}

fn proxy_command(cluster: &Cluster, bot: &Bot, host: &str) -> Command {
    let mut tbot = command(ours("tbot"));
    tbot.arg("ssh-proxy-command")
        .arg(format!("--destination-dir={}", bot.output().display()))
        .arg(format!("--proxy-server={}", cluster.endpoint("proxy")))
        .args(["--user=root", "--port=3022"])
        .arg(format!("--host={}", Bot::host(host)));
    tbot
}

fn ended(child: &mut Child) -> Option<i32> {
    until("the proxy command to end", || child.try_wait().expect("our own child")).code()
}

#[test]
fn it_ends_when_either_side_does() {
    let (cluster, bot) = with_bot();
    let connect = || {
        let mut tbot = proxy_command(&cluster, &bot, "my-host");
        let mut child =
            tbot.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut banner = String::new();
        output.read_line(&mut banner).expect("the node's first line");
        assert!(banner.starts_with("SSH-2.0-"), "{banner:?}");
        (child, output)
    };

    // The reader goes away and the writer stays: nobody is left to tell.
    let (mut child, output) = connect();
    drop(output);
    assert_eq!(ended(&mut child), Some(0));

    // The writer says what ends the session; everything of the node still arrives, then the end.
    let (mut child, mut output) = connect();
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"this is not SSH\r\n").expect("written");
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).expect("the end is seen while the writer is still there");
    assert_eq!(ended(&mut child), Some(0));
    drop(input);

    // The writer ends: the node is told, and ends the session.
    let (mut child, mut output) = connect();
    drop(child.stdin.take());
    output.read_to_end(&mut rest).expect("the end");
    assert_eq!(ended(&mut child), Some(0));
}

#[test]
fn it_works_on_files_and_nothing_too() {
    let (cluster, bot) = with_bot();
    let output = cluster.path().join("said");
    let mut tbot = proxy_command(&cluster, &bot, "my-host");
    let mut child = tbot
        .stdin(Stdio::null())
        .stdout(File::create(&output).expect("a scratch file"))
        .spawn()
        .expect("starts");
    assert_eq!(ended(&mut child), Some(0));
    assert!(std::fs::read(&output).expect("readable").starts_with(b"SSH-2.0-"));
}

#[test]
fn a_refusal_is_one_line_and_exit_code_1() {
    let (cluster, bot) = with_bot();
    let refused = run(&mut proxy_command(&cluster, &bot, "no-such-host"));
    assert_eq!(refused.code(), 1);
    assert!(refused.stdout.is_empty() && refused.stderr.lines().count() == 1, "{refused:#?}");
}

#[test]
fn a_lot_goes_both_ways_whole() {
    let (cluster, bot) = with_bot();
    let login = run(command("/usr/bin/id").arg("-un")).ok();
    let login = login.trim();
    cluster.role("tester", &format!("[{login}]"), "{env: test}");
    bot.oneshot().ok();
    let target = format!("{login}@{}", Bot::host("my-host"));
    let sent: Vec<u8> = (0..8_000_000u32).map(|at| b'a' + (at % 23) as u8).collect();
    let mut ssh = bot.openssh("ssh", &[&target, "cat"]);
    let back = testkit::process::run_with_input(&mut ssh, &sent).ok();
    assert!(back.as_bytes() == sent, "{} bytes came back", back.len());
}
