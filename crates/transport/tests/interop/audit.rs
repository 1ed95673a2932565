//! ssh-audit's judgement of our server.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use transport::ssh::KeyExchange;

use super::openssh::{Pki, Server, text};
use super::peer;

const NOT_POST_QUANTUM: &str = "does not provide protection against post-quantum attacks";
const BACKDOORED: &str =
    "using elliptic curves that are suspected as being backdoored by the U.S. National Security Agency";
const RANDOMNESS: &str = "using weak random number generator could reveal the key";

/// Every warning and failure that we live with.
const KNOWN: &[(&str, &str)] = &[
    // Clients from before OpenSSH 8.5 have nothing better; a policy can do without them.
    ("curve25519-sha256", NOT_POST_QUANTUM),
    ("curve25519-sha256@libssh.org", NOT_POST_QUANTUM),
    // P-256 is what hardware keeps keys for, and what an identity's SSH and TLS certificates share.
    ("ecdsa-sha2-nistp256", BACKDOORED),
    ("ecdsa-sha2-nistp256-cert-v01@openssh.com", BACKDOORED),
    ("ecdsa-sha2-nistp256", RANDOMNESS),
    ("ecdsa-sha2-nistp256-cert-v01@openssh.com", RANDOMNESS),
    // It takes the eight letters of the curve's name for the key.
    ("ecdsa-sha2-nistp256-cert-v01@openssh.com", "using small 64-bit hostkey modulus"),
];

async fn audit(server: &Server) -> Value {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/ssh-audit");
    let mut audit = Command::new(program);
    // How floods of connections are slowed is not read off an answer, and is the node's affair.
    audit.args(["--json", "--skip-rate-test", "--port", &server.address.port().to_string(), "127.0.0.1"]);
    let output = peer::run(audit, b"").await;
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)))
}

/// Algorithms with their warnings and failures.
fn notes(audit: &Value) -> BTreeSet<(&str, &str)> {
    let mut notes = BTreeSet::new();
    for part in ["kex", "key", "enc", "mac"] {
        for algorithm in audit[part].as_array().expect("a list") {
            let name = algorithm["algorithm"].as_str().expect("a name");
            for level in ["fail", "warn"] {
                let said = algorithm["notes"][level].as_array().into_iter().flatten();
                notes.extend(said.map(|note| (name, note.as_str().expect("text"))));
            }
        }
    }
    notes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_audit_warns_of_nothing_that_is_not_known() {
    let pki = Pki::new();
    let audit = audit(&Server::start(&pki).await).await;
    assert_eq!(notes(&audit), KNOWN.iter().copied().collect());
    assert_eq!(audit["cves"], serde_json::json!([]));
    assert_eq!(audit["compression"], serde_json::json!(["none"]));
    assert_eq!(audit["banner"]["raw"], "SSH-2.0-Postern", "strangers are told no version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_post_quantum_exchanges_alone_it_warns_of_the_host_key_at_most() {
    let pki = Pki::new();
    let server = Server::start_with(&pki, |config| {
        let all = KeyExchange::ALL.into_iter();
        config.algorithms.key_exchange = all.filter(|exchange| exchange.is_post_quantum()).collect();
    });
    let audit = audit(&server.await).await;
    for (algorithm, note) in notes(&audit) {
        assert!(algorithm.starts_with("ecdsa-sha2-nistp256"), "{algorithm}: {note}");
    }
}
