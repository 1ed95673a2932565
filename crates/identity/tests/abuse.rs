//! Attacks on the verifiers, one module for each row of the table in the threat model; each is refused with a
//! stable code. Rows about decisions (C8, C9) are held where decisions are made; what a certificate itself may
//! not say about impersonation and pinning is here.

mod forge;

#[path = "abuse/signers.rs"]
mod signers;
#[path = "abuse/ssh.rs"]
mod ssh_rows;
#[path = "abuse/x509.rs"]
mod x509_rows;

use forge::{Cluster, now};
use identity::TrustBundle;
use identity::verify::ssh;
use std::net::IpAddr;

type Code = Result<(), &'static str>;

/// What the user verifier says, wanting `root` from 192.0.2.7.
fn as_user(blob: &[u8], trust: &TrustBundle) -> Code {
    from(blob, trust, Some("192.0.2.7"))
}

fn from(blob: &[u8], trust: &TrustBundle, peer: Option<&str>) -> Code {
    let login = forge::people::login("root");
    let peer: Option<IpAddr> = peer.map(|peer| peer.parse().expect("an address"));
    let context = ssh::UserContext { trust, now: now(), peer, login: Some(&login) };
    ssh::user(blob, &context).map(|_| ()).map_err(|refusal| refusal.code())
}

/// What the host verifier says, wanting `web-1`.
fn as_host(blob: &[u8], trust: &TrustBundle) -> Code {
    named(blob, trust, &["web-1"])
}

fn named(blob: &[u8], trust: &TrustBundle, names: &[&str]) -> Code {
    let context = ssh::HostContext { trust, now: now(), names };
    ssh::host(blob, &context).map(|_| ()).map_err(|refusal| refusal.code())
}

fn cluster() -> (Cluster, TrustBundle) {
    let cluster = Cluster::new();
    let trust = cluster.trust();
    (cluster, trust)
}
