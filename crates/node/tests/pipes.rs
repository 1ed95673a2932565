//! Pipes through a node that an engine with wrong flow control hangs on; stock sshd passes each of them as the control.
//!
//! `POSTERN_PIPE_BYTES` makes the long pipes longer than fits into a test run: 2147483648 is the full measure.

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::pipe::{DEADLINE, Deaf, Server, all_of, within};
use support::text;
use tokio::process::{Child, Command};

/// What each round of a long pipe carries, unless the environment says otherwise.
const PIPE: u64 = 256 << 20;
/// How often: the hang is a race, which was lost four times in ten.
const ROUNDS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_whose_process_does_not_read_does_not_stop_another() {
    second_channel(Server::node().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_sshd_a_channel_whose_process_does_not_read_does_not_stop_another() {
    second_channel(Server::stock("")).await;
}

/// The first process leaves 64 MiB of input alone until it is told to read; meanwhile others run beside it.
async fn second_channel(server: Server) {
    let deaf = Deaf::start(&server, "deaf", 64 << 20).await;
    deaf.comes_to_rest().await;
    assert_eq!(deaf.beside("head -c 10485760 /dev/zero", b"").await.len(), 10 << 20);
    deaf.reads_in_the_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_whose_process_does_not_read_does_not_slow_the_input_of_another() {
    second_channel_reads(Server::node().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_sshd_a_channel_whose_process_does_not_read_does_not_slow_the_input_of_another() {
    second_channel_reads(Server::stock("")).await;
}

async fn second_channel_reads(server: Server) {
    let deaf = Deaf::start(&server, "deaf", 64 << 20).await;
    deaf.comes_to_rest().await;
    let counted = deaf.beside("wc -c", &vec![b'b'; 10 << 20]).await;
    assert_eq!(text(&counted).trim(), (10 << 20).to_string());
    deaf.reads_in_the_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_writes_much_before_it_reads_gets_through() {
    writes_before_it_reads(Server::node().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_sshd_a_process_that_writes_much_before_it_reads_gets_through() {
    writes_before_it_reads(Server::stock("")).await;
}

async fn writes_before_it_reads(server: Server) {
    const SIZE: usize = 50_000_000;
    let line = format!("head -c {SIZE} /dev/zero; cat");
    // No period that packets have, so that a lost or doubled one shows.
    let input: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let child = server.ssh(&[], &line).stdin(Stdio::piped()).spawn().expect("runs");
    let (status, said) = within(DEADLINE, &line, all_of(child, input.clone())).await;
    assert_eq!((status, said.len()), (Some(0), 2 * SIZE));
    assert!(said[..SIZE].iter().all(|byte| *byte == 0) && said[SIZE..] == input, "the data is not the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pipe_comes_back_whole_every_time() {
    long_pipe(Server::node().await, &[], pipe_bytes(PIPE)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_sshd_a_long_pipe_comes_back_whole_every_time() {
    long_pipe(Server::stock(""), &[], pipe_bytes(PIPE / 4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pipe_comes_back_whole_while_the_client_changes_keys() {
    long_pipe(Server::node().await, &["-o", "RekeyLimit=4M"], pipe_bytes(PIPE / 8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pipe_comes_back_whole_while_the_node_changes_keys() {
    long_pipe(Server::node_that_rekeys_after(4 << 20).await, &[], pipe_bytes(PIPE / 8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_pipe_comes_back_whole_while_both_change_keys() {
    let node = Server::node_that_rekeys_after(3 << 20).await;
    long_pipe(node, &["-o", "RekeyLimit=4M"], pipe_bytes(PIPE / 8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_sshd_a_long_pipe_comes_back_whole_while_both_change_keys() {
    long_pipe(Server::stock("RekeyLimit 3M"), &["-o", "RekeyLimit=4M"], pipe_bytes(PIPE / 16)).await;
}

fn pipe_bytes(otherwise: u64) -> u64 {
    match std::env::var("POSTERN_PIPE_BYTES") {
        Ok(bytes) => bytes.parse().expect("POSTERN_PIPE_BYTES is a number of bytes"),
        Err(_) => otherwise,
    }
}

/// `head -c BYTES /dev/zero | ssh HOST cat | wc -c`, again and again.
async fn long_pipe(server: Server, options: &[&str], bytes: u64) {
    let limit = DEADLINE + Duration::from_secs(bytes / (4 << 20));
    for round in 1..=ROUNDS {
        let mut head = piped("head", &["-c", &bytes.to_string(), "/dev/zero"], Stdio::null());
        let mut ssh = server.ssh(options, "cat");
        let mut ssh = ssh.stdin(output_of(&mut head)).spawn().expect("runs");
        let wc = piped("wc", &["-c"], output_of(&mut ssh));
        let what = format!("round {round} of {ROUNDS} with {bytes} bytes");
        let counted = within(limit, &what, wc.wait_with_output()).await.expect("ends");
        assert_eq!(text(&counted.stdout).trim(), bytes.to_string(), "{what}");
        let status = within(DEADLINE, "the end of ssh", ssh.wait()).await.expect("ends");
        assert!(status.success(), "{what}: ssh ended with {status}");
    }
}

fn piped(program: &str, args: &[&str], input: Stdio) -> Child {
    let mut command = Command::new(program);
    command.args(args).stdin(input).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().expect("runs")
}

fn output_of(child: &mut Child) -> Stdio {
    child.stdout.take().expect("a pipe").try_into().expect("a pipe")
}
