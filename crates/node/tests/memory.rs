//! What a node keeps for clients that offer more than anybody reads. The only test in its program, because it is the memory
//! of this process that it measures.

mod support;

use support::pipe::{Deaf, Server};

/// The window of a channel whose data nobody takes: it has no reason to grow.
const WINDOW: u64 = 256 << 10;
/// What the connection itself takes, and what the allocator keeps of it: buffers, tasks, a session's bookkeeping.
const SLACK: u64 = 1 << 20;
/// What each client would send if anybody read it.
const OFFERED: usize = 200_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_never_reads_costs_the_node_less_than_a_window() {
    let server = Server::node().await;
    // What is made with the first session of a node is not what the measured one costs.
    let first = Deaf::start(&server, "first", 1 << 20).await;
    first.reads_in_the_end().await;
    let before = anonymous_memory();
    let (mut deaf, mut kept) = (Vec::new(), Vec::new());
    for count in 1..=4 {
        let another = Deaf::start(&server, &count.to_string(), OFFERED).await;
        another.comes_to_rest().await;
        deaf.push(another);
        kept.push(anonymous_memory().saturating_sub(before));
        eprintln!("{count} that do not read keep {} KiB", kept[kept.len() - 1] >> 10);
    }
    for (count, kept) in (1..).zip(kept) {
        assert!(kept <= count * (WINDOW + SLACK), "{count} that do not read keep {kept} bytes");
    }
}

/// What this process has written to and keeps, in bytes; no code and no files.
fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
