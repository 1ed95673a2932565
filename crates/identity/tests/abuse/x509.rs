//! X.509: the same attacks where they exist there, and those that only exist there.

use super::{Code, cluster};
use crate::forge::people::{HOST, changed, full_bot, host, person};
use crate::forge::x509::{Leaf, sign_with_leaf, within};
use crate::forge::{Cluster, NOW, now, subject_key};
use access::SystemRole;
use identity::verify::x509::{self, ClientContext, ServerContext};
use identity::x509::{Claims, EXTENSION_OID};
use identity::{Pin, TrustBundle};
use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls_pki_types::CertificateDer;

fn as_client(chain: &[CertificateDer<'_>], trust: &TrustBundle) -> Code {
    let peer = Some("192.0.2.7".parse().expect("an address"));
    let context = ClientContext { trust, now: now(), peer };
    x509::client(chain, &context).map(|_| ()).map_err(|refusal| refusal.code())
}

const SERVER: ServerContext<'static> =
    ServerContext { now: jiff::Timestamp::UNIX_EPOCH, name: "web-1", role: None };

fn as_server(chain: &[CertificateDer<'_>], trust: &TrustBundle) -> Code {
    let context = ServerContext { now: now(), ..SERVER };
    x509::server(chain, trust, &context).map(|_| ()).map_err(|refusal| refusal.code())
}

/// A user's certificate, changed before it is signed.
fn changed_client(change: impl FnOnce(&mut CertificateParams)) -> Code {
    let (cluster, trust) = cluster();
    let leaf = Leaf::of(&person(), &subject_key()).with(change);
    as_client(&[cluster.user_tls.sign(&leaf)], &trust)
}

#[test]
fn the_unchanged_is_accepted() {
    assert_eq!(changed_client(|_| {}), Ok(()));
}

#[test]
fn the_wrong_authority() {
    let (cluster, trust) = cluster();
    let other = Cluster::new();
    let user = Leaf::of(&person(), &subject_key());
    let node = Leaf::of(&host(SystemRole::Node), &subject_key());
    assert_eq!(as_client(&[other.user_tls.sign(&user)], &trust), Err("untrusted_ca"));
    assert_eq!(as_client(&[cluster.host_tls.sign(&user)], &trust), Err("wrong_cert_type"));
    assert_eq!(as_client(&[cluster.user_tls.sign(&node)], &trust), Err("wrong_cert_type"));
    assert_eq!(as_server(&[cluster.user_tls.sign(&node)], &trust), Err("untrusted_ca"));
    assert_eq!(as_server(&[cluster.host_tls.sign(&user)], &trust), Err("wrong_cert_type"));
    assert_eq!(as_client(&[], &trust), Err("malformed"));
    assert_eq!(as_client(&vec![cluster.user_tls.sign(&user); 18], &trust), Err("malformed"));
    assert_eq!(as_client(&[cluster.user_tls.certificate()], &trust), Err("untrusted_ca"));
}

#[test]
fn a_stranger_is_told_of_the_authority_that_it_would_have_needed() {
    let (_, trust) = cluster();
    let other = Cluster::new();
    let wanted = |chain: &[CertificateDer<'_>]| {
        let context = ClientContext { trust: &trust, now: now(), peer: None };
        match x509::client(chain, &context) {
            Err(identity::Refusal::UntrustedCa { authority, .. }) => authority,
            outcome => panic!("{outcome:?}"),
        }
    };
    let user = Leaf::of(&person(), &subject_key());
    let node = Leaf::of(&host(SystemRole::Node), &subject_key());
    assert_eq!(wanted(&[other.user_tls.sign(&user)]), "user");
    assert_eq!(wanted(&[other.host_tls.sign(&node)]), "host");
}

#[test]
fn a_leaf_is_no_authority() {
    let (cluster, trust) = cluster();
    let key = KeyPair::generate().expect("a key");
    let mut middle = Leaf::of(&person(), &subject_key());
    middle.key.0 = key.public_key_raw().to_vec();
    let middle_certificate = cluster.user_tls.sign(&middle);
    let victim = Leaf::of(&full_bot(), &subject_key());
    let chain = [sign_with_leaf(&middle.params, &key, &victim), middle_certificate];
    assert_eq!(as_client(&chain, &trust), Err("untrusted_ca"));
    assert_eq!(
        changed_client(|p| p.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
        Err("malformed")
    );
}

#[test]
fn an_authority_is_nobody() {
    let (cluster, trust) = cluster();
    let mut own = Leaf::of(&person(), &subject_key());
    own.key = cluster.user_tls.point();
    assert_eq!(as_client(&[cluster.user_tls.sign(&own)], &trust), Err("untrusted_ca"));
}

#[test]
fn time_is_exact() {
    let lived = |after, before| changed_client(|params| within(params, after, before));
    assert_eq!(lived(NOW, NOW), Ok(()));
    assert_eq!(lived(NOW - 60, NOW - 1), Err("expired"));
    assert_eq!(lived(NOW + 1, NOW + 60), Err("not_yet_valid"));
    assert_eq!(lived(NOW - 60, NOW + 32 * 86_400), Err("bad_validity"));
    assert_eq!(lived(NOW + 60, NOW - 60), Err("bad_validity"));
}

#[test]
fn use_is_stated() {
    let (cluster, trust) = cluster();
    assert_eq!(changed_client(|params| params.key_usages.clear()), Err("malformed"));
    let only_server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    assert_eq!(changed_client(only_server), Err("malformed"));
    let node = Leaf::of(&host(SystemRole::Node), &subject_key())
        .with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(as_server(&[cluster.host_tls.sign(&node)], &trust), Err("malformed"));
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let add = |critical: bool| {
        move |params: &mut CertificateParams| {
            let mut extension = CustomExtension::from_oid_content(&[1, 3, 9999, 1], vec![5, 0]);
            extension.set_criticality(critical);
            params.custom_extensions.push(extension);
        }
    };
    assert_eq!(changed_client(add(false)), Ok(()));
    assert_eq!(changed_client(add(true)), Err("unknown_critical_option"));
}

#[test]
fn names_and_extension_agree() {
    let other = Claims::of(&full_bot());
    let extension = other.extension.clone();
    let swap = move |params: &mut CertificateParams| {
        params.custom_extensions = vec![CustomExtension::from_oid_content(EXTENSION_OID, extension)];
    };
    assert_eq!(changed_client(swap), Err("bad_identity"));
    assert_eq!(changed_client(|params| params.custom_extensions.clear()), Err("bad_identity"));
    assert_eq!(changed_client(|params| params.subject_alt_names.clear()), Err("bad_identity"));
    let add = |name: SanType| changed_client(|params| params.subject_alt_names.push(name));
    assert_eq!(
        add(SanType::DnsName("auth.postern.internal".try_into().expect("ASCII"))),
        Err("bad_identity")
    );
    assert_eq!(add(SanType::URI(other.uri.try_into().expect("ASCII"))), Err("bad_identity"));
    assert_eq!(add(SanType::Rfc822Name("a@b".try_into().expect("ASCII"))), Err("malformed"));
    let twice = |params: &mut CertificateParams| {
        let first = params.custom_extensions[0].clone();
        params.custom_extensions.push(first);
    };
    assert_eq!(changed_client(twice), Err("malformed"));
}

#[test]
fn the_extension_is_versioned_and_bounded() {
    let with = |content: Vec<u8>| {
        changed_client(|params| {
            params.custom_extensions = vec![CustomExtension::from_oid_content(EXTENSION_OID, content)];
        })
    };
    let text = String::from_utf8(Claims::of(&person()).extension).expect("JSON");
    assert_eq!(with(text.clone().into_bytes()), Ok(()));
    assert_eq!(with(text.replace("\"v\":1", "\"v\":2").into_bytes()), Err("bad_identity"));
    assert_eq!(with(text.replace("\"v\":1", "\"v\":1,\"x\":1").into_bytes()), Err("bad_identity"));
    assert_eq!(with(text.replace("[\"access\"]", "[]").into_bytes()), Err("bad_identity"));
    assert_eq!(with(Vec::new()), Err("bad_identity"));
    assert_eq!(with(vec![b' '; 33 * 1024]), Err("too_large"));
}

#[test]
fn another_cluster_and_another_address() {
    let (cluster, trust) = cluster();
    let mut foreign = person();
    foreign.cluster = "other.com".parse().expect("a name");
    let chain = [cluster.user_tls.sign(&Leaf::of(&foreign, &subject_key()))];
    assert_eq!(as_client(&chain, &trust), Err("wrong_cluster"));
    let pinned = changed(person(), |user| user.pinned_ip = Some("192.0.2.8".parse().expect("an address")));
    let chain = [cluster.user_tls.sign(&Leaf::of(&pinned, &subject_key()))];
    assert_eq!(as_client(&chain, &trust), Err("wrong_source_address"));
}

#[test]
fn any_changed_byte() {
    let (cluster, trust) = cluster();
    let der = cluster.host_tls.sign(&Leaf::of(&host(SystemRole::Node), &subject_key())).to_vec();
    for place in 0..der.len() {
        let mut changed = der.clone();
        changed[place] ^= 1;
        assert!(as_server(&[CertificateDer::from(changed)], &trust).is_err(), "byte {place}");
    }
    let longer = CertificateDer::from([&der[..], &[0]].concat());
    assert_eq!(as_server(&[longer], &trust), Err("malformed"));
}

#[test]
fn a_server_is_only_itself() {
    let (cluster, trust) = cluster();
    let chain = [cluster.host_tls.sign(&Leaf::of(&host(SystemRole::Node), &subject_key()))];
    let asked = |name: &str, role: Option<SystemRole>| {
        let context = ServerContext { now: now(), name, role };
        x509::server(&chain, &trust, &context).map(|_| ()).map_err(|refusal| refusal.code())
    };
    assert_eq!(asked("web-1", Some(SystemRole::Node)), Ok(()));
    assert_eq!(asked(HOST, None), Ok(()));
    assert_eq!(asked("web-1", Some(SystemRole::Auth)), Err("wrong_role"));
    for name in ["", "web-2", "*", "10.0.0.6", "auth.postern.internal"] {
        assert_eq!(asked(name, None), Err("wrong_host"), "{name}");
    }
}

mod pins {
    use super::*;

    fn pinned(chain: &[CertificateDer<'_>], pins: &[Pin]) -> Code {
        let context = ServerContext { now: now(), ..SERVER };
        x509::server_by_pin(chain, pins, &context).map(|_| ()).map_err(|refusal| refusal.code())
    }

    #[test]
    fn the_pinned_authority_comes_along() {
        let (cluster, trust) = cluster();
        let leaf = cluster.host_tls.sign(&Leaf::of(&host(SystemRole::Node), &subject_key()));
        let chain = [leaf.clone(), cluster.host_tls.certificate()];
        assert_eq!(pinned(&chain, &trust.pins()), Ok(()));
        assert_eq!(pinned(&chain[..1], &trust.pins()), Err("pin_mismatch"));
        assert_eq!(pinned(&chain, &[]), Err("pin_mismatch"));
        let (other, other_trust) = super::cluster();
        assert_eq!(pinned(&chain, &other_trust.pins()), Err("pin_mismatch"));
        let beside = [leaf, other.host_tls.certificate()];
        assert_eq!(pinned(&beside, &other_trust.pins()), Err("pin_mismatch"));
    }

    /// A pin of a leaf's own key makes nobody an authority.
    #[test]
    fn a_pinned_leaf_is_no_authority() {
        let (cluster, _) = cluster();
        let leaf = cluster.host_tls.sign(&Leaf::of(&host(SystemRole::Node), &subject_key()));
        let pin = Pin::of(&leaf).expect("a pin");
        assert_eq!(pinned(&[leaf.clone(), leaf], &[pin]), Err("pin_mismatch"));
    }

    #[test]
    fn the_authoritys_cluster_is_the_servers() {
        let (cluster, trust) = cluster();
        let mut foreign = host(SystemRole::Node);
        foreign.cluster = "other.com".parse().expect("a name");
        let leaf = cluster.host_tls.sign(&Leaf::of(&foreign, &subject_key()));
        assert_eq!(pinned(&[leaf, cluster.host_tls.certificate()], &trust.pins()), Err("wrong_cluster"));
    }
}
