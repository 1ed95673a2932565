//! Whatever comes in, every reader answers: no panic, no endless loop, nothing read beyond its bound.

mod forge;

use access::SystemRole;
use forge::people::{full_bot, host};
use forge::ssh::Certificate;
use forge::x509::Leaf;
use forge::{Cluster, now, subject_key};
use identity::key::{PublicKey, SubjectKey};
use identity::ssh::SshCertificate;
use identity::verify::{ssh, x509};
use identity::{Pin, TrustBundle, file, pem, policy};
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use std::sync::LazyLock;

struct Samples {
    trust: TrustBundle,
    user: Vec<u8>,
    host: Vec<u8>,
    leaf: Vec<u8>,
    json: String,
}

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let cluster = Cluster::new();
    let node = host(SystemRole::Node);
    let trust = cluster.trust();
    Samples {
        user: Certificate::of(&full_bot()).sign(&cluster.user),
        host: Certificate::of(&node).sign(&cluster.host),
        leaf: cluster.host_tls.sign(&Leaf::of(&node, &subject_key())).to_vec(),
        json: serde_json::to_string(&trust).expect("JSON"),
        trust,
    }
});

/// Everything that reads bytes of others.
fn show(bytes: &[u8]) {
    let trust = &SAMPLES.trust;
    let context = ssh::UserContext { trust, now: now(), peer: None, login: None };
    let _ = ssh::user(bytes, &context);
    let _ = ssh::host(bytes, &ssh::HostContext { trust, now: now(), names: &["web-1"] });
    let _ = SshCertificate::from_blob(bytes);
    let chain = [CertificateDer::from(bytes.to_vec()), CertificateDer::from(bytes.to_vec())];
    let _ = x509::client(&chain, &x509::ClientContext { trust, now: now(), peer: None });
    let context = x509::ServerContext { now: now(), name: "web-1", role: None };
    let _ = x509::server(&chain, trust, &context);
    let pins: Vec<Pin> = trust.pins().into_iter().chain(Pin::of(&chain[0])).collect();
    let _ = x509::server_by_pin(&chain, &pins, &context);
    let _ = PublicKey::from_spki_der(bytes);
    let _ = SubjectKey::from_pkcs8_der(bytes);
    let _ = policy::open(bytes, bytes, trust);
    show_text(&String::from_utf8_lossy(bytes));
}

/// Everything that reads text of others.
fn show_text(text: &str) {
    let _ = SshCertificate::from_line(text);
    let _ = SubjectKey::from_pem(text);
    let _ = pem::blocks(text);
    let _ = file::decode(text);
    let _ = text.parse::<Pin>();
    let _ = serde_json::from_str::<TrustBundle>(text);
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        show(&bytes);
    }

    #[test]
    fn any_text(text in ".{0,300}") {
        show_text(&text);
    }

    /// Right ones with a few bytes overwritten, cut out or put in.
    #[test]
    fn nearly_right_bytes(
        which in 0..3usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let samples = &*SAMPLES;
        let mut bytes = [&samples.user, &samples.host, &samples.leaf][which].clone();
        for (place, byte, edit) in edits {
            let place = place.index(bytes.len());
            match edit {
                0 => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                _ => _ = bytes.remove(place),
            }
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len() + 1)));
        show(&bytes);
    }

    #[test]
    fn nearly_right_text(place in any::<prop::sample::Index>(), put in "[\\x00-\\x7f]{0,4}", drop in 0..8usize) {
        let json = &SAMPLES.json;
        let place = place.index(json.len());
        let end = (place + drop).min(json.len());
        show_text(&[&json[..place], &put, &json[end..]].concat());
    }
}
