//! Measures how fast certificates are issued through the whole API: mutual TLS, RBAC, the durable audit log.
//!
//! The auth service runs in a process of its own, so that its processor time can be told from that of its clients.
//! Each count is one output of a bot: an SSH and an X.509 certificate over one key. Prints one line of JSON for
//! `scripts/bench`. Usage: `issuing [CERTIFICATES [CLIENTS]]`.

#![allow(clippy::print_stdout, reason = "what it measured is its output")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use access::HostPort;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind;
use api::v1::{CertificateRequest, IssueOutputsRequest, OutputRequest};
use aws_lc_rs::signature::Ed25519KeyPair;
use harness::{Auth, Joiner, key};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use transport::rpc::{Channel, connect_auth, connect_join};
use transport::{LiveCredentials, ServerTrust};

/// Set in the process that serves: how many clients will join.
const SERVE: &str = "POSTERN_ISSUING_CLIENTS";
/// How long signatures are made to see how fast that goes.
const RAW: Duration = Duration::from_secs(1);

/// What clients need to join.
#[derive(Serialize, Deserialize)]
struct Door {
    port: u16,
    pins: Vec<String>,
    tokens: Vec<String>,
}

#[tokio::main]
async fn main() {
    if let Ok(clients) = std::env::var(SERVE) {
        return serve(clients.parse().expect("a number")).await;
    }
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let (certificates, clients) = (arguments.next().unwrap_or(20_000), arguments.next().unwrap_or(32));
    let mut server = Server::start(clients);
    let door: Door = serde_json::from_str(&server.first_line).expect("what it serves");
    let mut channels = vec![];
    for token in &door.tokens {
        channels.push(join(&door, token).await);
    }
    issue(&channels, certificates / 10).await;
    let (start, before) = (Instant::now(), server.processor_seconds());
    issue(&channels, certificates).await;
    let (wall, processor) = (start.elapsed().as_secs_f64(), server.processor_seconds() - before);
    server.stop();
    let raw = signatures_per_second();
    let per_core = certificates as f64 / processor;
    let figures = serde_json::json!({
        "certificates": certificates, "clients": clients,
        "certificates_per_second": certificates as f64 / wall,
        "server_processor_seconds": processor,
        "certificates_per_core_second": per_core,
        "signatures_per_core_second": raw,
        "share": per_core / raw,
    });
    println!("{figures}");
}

/// Serves until its input ends.
async fn serve(clients: usize) {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let auth = Auth::start_in(directory, Arc::default(), |_| {}).await.expect("starts");
    auth.bot("ci").await;
    let mut tokens = vec![];
    for _ in 0..clients {
        tokens.push(auth.bot_token("ci").await);
    }
    let pins = auth.pins.iter().map(ToString::to_string).collect();
    let door = Door { port: auth.addr.port(), pins, tokens };
    println!("{}", serde_json::to_string(&door).expect("JSON"));
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    wait.await.expect("ends").expect("reads");
    auth.stop().await;
}

/// The auth service in a process of its own.
struct Server {
    child: Child,
    first_line: String,
}

impl Server {
    fn start(clients: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(SERVE, clients.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut first_line = String::new();
        let output = child.stdout.take().expect("is piped");
        BufReader::new(output).read_line(&mut first_line).expect("says where it serves");
        Self { child, first_line }
    }

    fn processor_seconds(&self) -> f64 {
        processor_seconds(self.child.id())
    }

    fn stop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("ends");
    }
}

/// User and system time of a process, from the system's table.
fn processor_seconds(process: u32) -> f64 {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / TICKS
}

async fn join(door: &Door, token: &str) -> Channel {
    let addr = HostPort::new("127.0.0.1", door.port).expect("an address");
    let pins = door.pins.iter().map(|pin| pin.parse().expect("a pin")).collect();
    let own = Joiner::bot(token).join(connect_join(&addr, ServerTrust::pins(pins))).await.expect("joins");
    connect_auth(&addr, &LiveCredentials::new(own).expect("credentials fit"))
}

/// Each client asks for one certificate after the other; the keys are made before, for they cost the client alone.
async fn issue(channels: &[Channel], certificates: u64) {
    let asked = Arc::new(AtomicU64::new(0));
    let clients = channels.iter().map(|channel| {
        let (asked, mut client) = (asked.clone(), CertificateServiceClient::new(channel.clone()));
        let public_key = key().spki_der();
        tokio::spawn(async move {
            while asked.fetch_add(1, Ordering::Relaxed) < certificates {
                let public_key = public_key.clone();
                let request = CertificateRequest { public_key, roles: vec![], ttl_seconds: 0 };
                let output = OutputRequest { kind: Some(Kind::Certificate(request)) };
                let answer = client.issue_outputs(IssueOutputsRequest { outputs: vec![output] }).await;
                let answer = answer.expect("is answered").into_inner().outputs.remove(0).answer;
                assert!(matches!(answer, Some(Answer::Certificate(_))), "{answer:?}");
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("gets its certificates");
    }
}

/// What the signature of an SSH certificate alone costs, in processor time as well.
fn signatures_per_second() -> f64 {
    let pair = Ed25519KeyPair::generate().expect("a key");
    let certificate = [7; 512];
    let (start, before, mut signatures) = (Instant::now(), processor_seconds(std::process::id()), 0_u32);
    while start.elapsed() < RAW {
        std::hint::black_box(pair.sign(std::hint::black_box(&certificate)));
        signatures += 1;
    }
    f64::from(signatures) / (processor_seconds(std::process::id()) - before)
}
