//! Who signed: rows C1, C2, C6, C12 and J7.

use super::{Code, as_host, as_user, cluster};
use crate::forge::Cluster;
use crate::forge::people::{host, person};
use crate::forge::ssh::{Certificate, Signer, string, strings};
use access::SystemRole;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::ssh::SshCertificate;
use identity::{Identity, file};

/// A certificate whose signer is a certificate, whose signer is a certificate, ...
fn nested(identity: &Identity, depth: usize) -> Vec<u8> {
    let attacker = Signer::ed25519();
    let mut signer = attacker.blob();
    for _ in 0..depth {
        let level = Certificate::about(identity, &attacker);
        signer = level.with(|level| level.signature_key = Some(signer)).sign(&attacker);
    }
    Certificate::of(identity).with(|outer| outer.signature_key = Some(signer)).sign(&attacker)
}

fn line(blob: &[u8]) -> String {
    format!("ecdsa-sha2-nistp256-cert-v01@openssh.com {}", STANDARD.encode(blob))
}

mod c1_a_certificate_is_no_signer {
    use super::*;

    #[test]
    fn at_any_depth() {
        let (_, trust) = cluster();
        for depth in 1..=8 {
            assert_eq!(as_user(&nested(&person(), depth), &trust), Err("signer_is_certificate"));
            let host = nested(&host(SystemRole::Node), depth);
            assert_eq!(as_host(&host, &trust), Err("signer_is_certificate"));
        }
    }

    #[test]
    fn even_one_that_a_trusted_authority_signed() {
        let (cluster, trust) = cluster();
        let attacker = Signer::ed25519();
        let own = Certificate::about(&person(), &attacker).sign(&cluster.user);
        let forged =
            Certificate::of(&person()).with(|forged| forged.signature_key = Some(own)).sign(&attacker);
        assert_eq!(as_user(&forged, &trust), Err("signer_is_certificate"));
    }

    #[test]
    fn nor_in_files_and_lines() {
        let refusal = SshCertificate::from_line(&line(&nested(&person(), 1))).expect_err("refused");
        assert_eq!(refusal.code(), "signer_is_certificate");
    }
}

mod c2_deep_nesting_costs_nothing {
    use super::*;

    /// A stack too small for a parser that follows the nesting.
    fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(test).expect("a thread");
        thread.join().expect("no overflow, no panic");
    }

    #[test]
    fn as_deep_as_fits() {
        on_a_small_stack(|| {
            let (_, trust) = cluster();
            let blob = nested(&person(), 25);
            assert!(blob.len() < 16 * 1024, "{}", blob.len());
            assert_eq!(as_user(&blob, &trust), Err("signer_is_certificate"));
        });
    }

    #[test]
    fn thousands_of_levels() {
        on_a_small_stack(|| {
            let (_, trust) = cluster();
            let mut blob = Signer::ed25519().blob();
            for _ in 0..5000 {
                let mut level = strings(["ssh-ed25519-cert-v01@openssh.com", "nonce"]);
                string(&mut level, blob);
                blob = level;
            }
            assert_eq!(as_user(&blob, &trust), Err("too_large"));
            assert_eq!(as_host(&blob, &trust), Err("too_large"));
            assert_eq!(SshCertificate::from_line(&line(&blob)).expect_err("refused").code(), "too_large");
            assert!(file::decode(&line(&blob)).is_err());
        });
    }
}

mod c6_other_authorities {
    use super::*;

    #[test]
    fn another_cluster_and_our_own_host_authority() {
        let (cluster, trust) = cluster();
        let other = Cluster::new();
        let user = Certificate::of(&person());
        for signer in [&other.user, &cluster.host, &Signer::ed25519()] {
            assert_eq!(as_user(&user.sign(signer), &trust), Err("untrusted_ca"));
        }
        let host = Certificate::of(&host(SystemRole::Node));
        for signer in [&other.host, &cluster.user] {
            assert_eq!(as_host(&host.sign(signer), &trust), Err("untrusted_ca"));
        }
        let mut nobody = trust.clone();
        nobody.user.ssh.clear();
        assert_eq!(as_user(&user.sign(&cluster.user), &nobody), Err("untrusted_ca"));
    }

    #[test]
    fn the_openssh_authority_signs_no_user_of_ours() {
        let (_, mut trust) = cluster();
        let openssh = Signer::ed25519();
        trust.openssh.ssh.push(openssh.public());
        assert_eq!(as_user(&Certificate::of(&person()).sign(&openssh), &trust), Err("untrusted_ca"));
    }

    #[test]
    fn a_forged_cluster_name() {
        let (cluster, trust) = cluster();
        let user = Certificate::of(&person()).extension("teleport-route-to-cluster", "other.com");
        assert_eq!(as_user(&user.sign(&cluster.user), &trust), Err("wrong_cluster"));
        let mut foreign = host(SystemRole::Node);
        foreign.cluster = "other.com".parse().expect("a name");
        assert_eq!(as_host(&Certificate::of(&foreign).sign(&cluster.host), &trust), Err("wrong_cluster"));
    }

    #[test]
    fn a_claimed_signer() {
        let (cluster, trust) = cluster();
        let claim = Certificate::of(&person()).with(|claim| claim.signature_key = Some(cluster.user.blob()));
        assert_eq!(as_user(&claim.sign(&Signer::ed25519()), &trust), Err("bad_signature"));
    }

    #[test]
    fn any_changed_byte() {
        let (cluster, trust) = cluster();
        let blob = Certificate::of(&person()).sign(&cluster.user);
        assert_eq!(as_user(&blob, &trust), Ok(()));
        for place in 0..blob.len() {
            let mut changed = blob.clone();
            changed[place] ^= 1;
            assert!(as_user(&changed, &trust).is_err(), "byte {place}");
        }
        let longer = [&blob[..], &[0]].concat();
        assert_eq!(as_user(&longer, &trust), Err("malformed"));
        assert!(as_user(&blob[..blob.len() - 1], &trust).is_err());
    }
}

mod c12_weak_and_mismatched_algorithms {
    use super::*;
    use crate::forge::ssh::integer;

    fn with_subject(algorithm: &str, fields: Vec<u8>) -> Code {
        let (cluster, trust) = cluster();
        let certificate = Certificate::of(&person()).with(|certificate| {
            certificate.algorithm = format!("{algorithm}-cert-v01@openssh.com");
            certificate.subject = fields;
        });
        as_user(&certificate.sign(&cluster.user), &trust)
    }

    fn rsa(bits: usize) -> Vec<u8> {
        strings([integer(&[1, 0, 1]), integer(&vec![0xd5; bits / 8])])
    }

    #[test]
    fn subjects() {
        assert_eq!(with_subject("ssh-rsa", rsa(2048)), Ok(()));
        for bits in [1024, 16384] {
            assert_eq!(with_subject("ssh-rsa", rsa(bits)), Err("bad_key"), "{bits}");
        }
        for algorithm in ["ssh-dss", "rsa-sha2-512", "ecdsa-sha2-nistp521", "sk-ssh-ed25519", ""] {
            assert_eq!(with_subject(algorithm, rsa(2048)), Err("algorithm_not_allowed"), "{algorithm}");
        }
        let p256 = Signer::p256().fields();
        let other_curve = [strings(["nistp384"]), p256[12..].to_vec()].concat();
        assert_eq!(with_subject("ecdsa-sha2-nistp256", other_curve), Err("bad_key"));
        let mut off_curve = p256;
        *off_curve.last_mut().expect("bytes") ^= 1;
        assert_eq!(with_subject("ecdsa-sha2-nistp256", off_curve), Err("bad_key"));
    }

    #[test]
    fn rsa_keys_are_for_users_only() {
        let (cluster, trust) = cluster();
        let certificate = Certificate::of(&host(SystemRole::Node)).with(|certificate| {
            certificate.algorithm = "ssh-rsa-cert-v01@openssh.com".to_owned();
            certificate.subject = rsa(2048);
        });
        assert_eq!(as_host(&certificate.sign(&cluster.host), &trust), Err("bad_key"));
    }

    #[test]
    fn authorities() {
        let (_, mut trust) = cluster();
        let p256 = Signer::p256();
        trust.user.ssh.push(p256.public());
        assert_eq!(as_user(&Certificate::of(&person()).sign(&p256), &trust), Ok(()));
        let rsa = [strings(["ssh-rsa"]), rsa(2048)].concat();
        trust.user.ssh.push(ssh_key::PublicKey::from_bytes(&rsa).expect("a key"));
        let signed = Certificate::of(&person()).with(|certificate| certificate.signature_key = Some(rsa));
        assert_eq!(as_user(&signed.sign(&p256), &trust), Err("algorithm_not_allowed"));
        assert!(trust.check().is_err(), "an RSA key is no authority");
    }

    /// The signature says that it was made by another algorithm than the key's.
    #[test]
    fn signatures_of_another_algorithm() {
        let (cluster, trust) = cluster();
        let blob = Certificate::of(&person()).sign(&cluster.user);
        let signature = blob.len() - (4 + 11 + 4 + 64);
        for name in ["rsa-sha2-512", "ssh-rsa", "ecdsa-sha2-nistp256"] {
            let mut forged = blob[..signature - 4].to_vec();
            string(&mut forged, strings([name.as_bytes(), &[1; 64]]));
            assert_eq!(as_user(&forged, &trust), Err("algorithm_not_allowed"), "{name}");
        }
    }
}

mod j7_an_authority_is_nobody {
    use super::*;

    #[test]
    fn a_certificate_about_the_authoritys_own_key() {
        let (cluster, trust) = cluster();
        let own = Certificate::about(&person(), &cluster.user).sign(&cluster.user);
        assert_eq!(as_user(&own, &trust), Err("bad_key"));
        let own = Certificate::about(&host(SystemRole::Node), &cluster.host).sign(&cluster.host);
        assert_eq!(as_host(&own, &trust), Err("bad_key"));
    }
}
