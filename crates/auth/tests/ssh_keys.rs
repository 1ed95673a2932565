//! Hosts whose SSH server signs with another key than the one for TLS.

mod harness;

use api::status::Problem;
use api::v1;
use api::v1::certificate_service_client::CertificateServiceClient;
use harness::{Auth, Joiner, key};
use identity::Credentials;
use identity::key::{PublicKey, SubjectKey};
use identity::verify::ssh::{HostContext, host};
use identity::verify::x509::{ClientContext, client};
use jiff::Timestamp;

fn node(ssh_public_key: Vec<u8>) -> Joiner {
    let mut joiner = Joiner::node("web-1");
    joiner.host.as_mut().expect("a host").ssh_public_key = ssh_public_key;
    joiner
}

async fn renew(auth: &Auth, held: &Credentials, host: v1::HostDetails) -> Result<Credentials, Problem> {
    let key = key();
    let ssh_key = PublicKey::from_spki_der(&host.ssh_public_key).ok();
    let request = v1::RenewHostRequest { public_key: key.spki_der(), host: Some(host) };
    let answer = CertificateServiceClient::new(auth.member(held)).renew_host(request).await;
    let message = answer.map_err(|status| Problem::of(&status))?.into_inner().credentials;
    Ok(api::convert::host_credentials(key, ssh_key.as_ref(), message.expect("some")).expect("they fit"))
}

/// That clients and servers take the certificates for those over these two keys.
fn holds(credentials: &Credentials, tls: &PublicKey, ssh: &PublicKey) {
    let (trust, now) = (&credentials.trust, Timestamp::now());
    let shown = host(credentials.ssh_certificate.blob(), &HostContext { trust, now, names: &["web-1"] });
    assert_eq!(shown.expect("SSH clients accept it").key().key_data(), ssh.ssh().key_data());
    let shown = client(&credentials.tls_chain, &ClientContext { trust, now, peer: None });
    assert_eq!(shown.expect("auth accepts it").key(), tls);
}

#[tokio::test]
async fn a_host_has_one_key_for_tls_and_another_for_ssh() {
    let auth = Auth::start().await;
    let ssh = key();
    let joiner = node(ssh.spki_der());
    let joined = auth.join(&joiner).await.expect("joins");
    holds(&joined, joiner.key.public(), ssh.public());
    let again = auth.join(&joiner).await.expect("the same again is a retry");
    holds(&again, joiner.key.public(), ssh.public());
    // The key for SSH may stay, or be another one, or be the first for both.
    let details = joiner.host.clone().expect("a host");
    let renewed = renew(&auth, &joined, details.clone()).await.expect("renews");
    holds(&renewed, renewed.key.public(), ssh.public());
    let repeated = renew(&auth, &joined, details.clone()).await.expect("a lost answer is no theft");
    holds(&repeated, repeated.key.public(), ssh.public());
    let other = key();
    let changed = v1::HostDetails { ssh_public_key: other.spki_der(), ..details.clone() };
    let renewed = renew(&auth, &repeated, changed).await.expect("renews");
    holds(&renewed, renewed.key.public(), other.public());
    let one = v1::HostDetails { ssh_public_key: vec![], ..details };
    let renewed = renew(&auth, &renewed, one).await.expect("renews as agents without the field do");
    holds(&renewed, renewed.key.public(), renewed.key.public());
}

#[tokio::test]
async fn what_is_no_key_or_somebody_elses_is_refused() {
    let auth = Auth::start().await;
    let holder = Joiner::node("db-1");
    auth.join(&holder).await.expect("joins");
    let own = node(vec![]);
    let joined = auth.join(&own).await.expect("joins");
    let details = own.host.clone().expect("a host");
    let ed25519 = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &[7; 32]];
    let table = [
        (b"nonsense".to_vec(), "key_refused"),
        (ed25519.concat(), "key_refused"),
        ([key().spki_der(), vec![0]].concat(), "key_refused"),
        (authority(&joined).spki_der(), "key_refused"),
        (holder.key.spki_der(), "key_taken"),
    ];
    for (ssh_public_key, code) in table {
        let refused = auth.join(&node(ssh_public_key.clone())).await.expect_err("is refused");
        assert_eq!(refused.code, code, "{refused}");
        let asked = v1::HostDetails { ssh_public_key, ..details.clone() };
        assert_eq!(renew(&auth, &joined, asked).await.expect_err("is refused").code, code);
    }
    renew(&auth, &joined, details).await.expect("nothing of it was kept");
}

/// The key of the cluster's own TLS authority for hosts.
fn authority(member: &Credentials) -> PublicKey {
    let certificate = &member.trust.host.tls[0];
    let at = certificate.windows(4).position(|window| window == [0x30, 0x59, 0x30, 0x13]);
    PublicKey::from_spki_der(&certificate[at.expect("a P-256 key")..][..91]).expect("a key")
}

#[tokio::test]
async fn a_bot_has_one_key() {
    let auth = Auth::start().await;
    auth.bot("ci").await;
    let mut joiner = Joiner::bot(&auth.bot_token("ci").await);
    let apart: SubjectKey = key();
    joiner.host = Some(v1::HostDetails { ssh_public_key: apart.spki_der(), ..v1::HostDetails::default() });
    assert_eq!(auth.join(&joiner).await.expect_err("is refused").code, "invalid");
}
