//! The finished certificates, looked at once more: with the verifiers that everybody else uses, against what was
//! ordered. A certificate that is not exactly that never leaves.

use crate::Issued;
use crate::decide::{IssueError, Order, Validity};
use identity::ssh::Claims;
use identity::ssh::certificate::RawCertificate;
use identity::trust::TrustBundle;
use identity::verify::ssh::{HostContext, UserContext};
use identity::verify::x509::ClientContext;
use identity::verify::{ssh, x509};
use identity::{Identity, Subject};
use jiff::Timestamp;
use std::collections::BTreeMap;

pub(crate) fn check(
    issued: &Issued,
    order: &Order<'_>,
    meant: &Claims,
    validity: Validity,
    trust: &TrustBundle,
    now: Timestamp,
) -> Result<(), IssueError> {
    let peer = match &order.identity.subject {
        Subject::User(user) => user.pinned_ip,
        Subject::Host(_) => None,
    };
    let blob = issued.ssh.blob();
    let (said, before, serial, key) = match &order.identity.subject {
        Subject::User(_) => {
            let verified = ssh::user(blob, &UserContext { trust, now, peer, login: None })?;
            (verified.identity().clone(), verified.valid_before(), verified.serial(), verified.key().clone())
        }
        Subject::Host(host) => {
            let id = host.id.to_string();
            let verified = ssh::host(blob, &HostContext { trust, now, names: &[&id] })?;
            (verified.identity().clone(), verified.valid_before(), verified.serial(), verified.key().clone())
        }
    };
    if key.key_data() != order.ssh_key().ssh().key_data() {
        return Err(IssueError::Check("the SSH certificate certifies another key".into()));
    }
    agree("SSH", &said, order, before, serial, issued, validity)?;
    word_for_word(&RawCertificate::parse(blob)?, order, meant, validity)?;
    let verified = x509::client(&issued.tls_chain, &ClientContext { trust, now, peer })?;
    agree("TLS", verified.identity(), order, verified.valid_before(), verified.serial(), issued, validity)?;
    match verified.key() == order.public_key {
        true => Ok(()),
        false => Err(IssueError::Check("the TLS certificate certifies another key".into())),
    }
}

fn agree(
    which: &str,
    said: &Identity,
    order: &Order<'_>,
    before: Timestamp,
    serial: u64,
    issued: &Issued,
    validity: Validity,
) -> Result<(), IssueError> {
    let wrong = |what: &str| Err(IssueError::Check(format!("the {which} certificate says another {what}")));
    if said != order.identity {
        return wrong("identity");
    }
    if before != validity.before {
        return wrong("validity");
    }
    if serial != issued.serial {
        return wrong("serial");
    }
    Ok(())
}

/// What no verifier compares, because it has nothing to compare with: the beginning, and every word as it was ordered,
/// with nothing added.
fn word_for_word(
    raw: &RawCertificate<'_>,
    order: &Order<'_>,
    meant: &Claims,
    validity: Validity,
) -> Result<(), IssueError> {
    let wrong = |what: &str| Err(IssueError::Check(format!("the SSH certificate says another {what}")));
    let Claims { kind, key_id, principals, critical_options, extensions } = meant;
    if i64::try_from(raw.valid_after) != Ok(validity.after.as_second()) {
        return wrong("beginning");
    }
    if raw.kind != *kind || raw.key_id != key_id {
        return wrong("type or key id");
    }
    if !raw.principals.iter().eq(principals.iter()) {
        return wrong("list of principals");
    }
    let pairs = critical_options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    if !says(&raw.critical_options, pairs.collect()) {
        return wrong("set of critical options");
    }
    let pairs = extensions.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let extra = order.extra.iter().map(|extra| (extra.name.as_str(), extra.value.as_str()));
    if !says(&raw.extensions, pairs.chain(extra).collect()) {
        return wrong("set of extensions");
    }
    Ok(())
}

fn says(raw: &[(&str, &[u8])], meant: BTreeMap<&str, &str>) -> bool {
    let said = raw.iter().map(|(name, value)| Some((*name, inner(value)?)));
    let meant = meant.into_iter().map(|(name, value)| Some((name, value.as_bytes())));
    said.eq(meant)
}

/// The string inside a value; an empty value has none.
fn inner(value: &[u8]) -> Option<&[u8]> {
    match value.split_first_chunk::<4>() {
        None => value.is_empty().then_some(value),
        Some((length, text)) => (u32::from_be_bytes(*length) as usize == text.len()).then_some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::{IssueError, Order, RawCertificate, Validity, word_for_word};
    use crate::decide::Extra;
    use crate::keys::Keys;
    use crate::sign::ssh::{self, Contents};
    use access::resource::cert_authority::CaKind;
    use access::{ClusterName, HostId, SystemRole};
    use aws_lc_rs::rand::SystemRandom;
    use identity::key::SubjectKey;
    use identity::ssh::{Claims, SshCertificate};
    use identity::{HostIdentity, Identity, Subject};
    use jiff::{SignedDuration, Timestamp};
    use uuid::Uuid;

    fn extra(name: &str, value: &str) -> Extra {
        Extra { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn nothing_may_be_added_or_missing_or_begin_at_another_time() {
        let cluster = ClusterName::new("c.example").expect("a name");
        let after = Timestamp::from_second(1_800_000_000).expect("a time");
        let validity = Validity { after, before: after + SignedDuration::from_hours(1) };
        let keys = Keys::generate(CaKind::Host, &cluster, after).expect("keys");
        let key = SubjectKey::generate(&SystemRandom::new()).expect("a key");
        let host =
            HostIdentity { id: HostId(Uuid::nil()), role: SystemRole::Node, names: vec!["web-1".into()] };
        let identity = Identity { cluster, subject: Subject::Host(host) };
        let claims = Claims::of(&identity, Uuid::nil());
        let signed = |claims: &Claims, validity, extra: &[Extra]| -> SshCertificate {
            let public_key = key.public();
            let contents = Contents { claims, public_key, validity, serial: 7, nonce: [1; 32], extra };
            ssh::certificate(&keys, &contents).expect("signed")
        };
        let ordered = [extra("login@github.com", "alice"), extra("flag", "")];
        let judged = |certificate: SshCertificate| {
            let lifetime = std::time::Duration::from_secs(3600);
            let order = Order {
                identity: &identity,
                public_key: key.public(),
                ssh_public_key: None,
                lifetime,
                extra: &ordered,
            };
            let raw = RawCertificate::parse(certificate.blob()).expect("a certificate");
            word_for_word(&raw, &order, &claims, validity)
        };
        judged(signed(&claims, validity, &ordered)).expect("as ordered");
        let earlier = Validity { after: after - SignedDuration::from_secs(1), ..validity };
        let mut renamed = claims.clone();
        renamed.key_id.push('x');
        let mut more = claims.clone();
        more.principals.push("web-2".to_owned());
        let mut bound = claims.clone();
        bound.critical_options.insert("force-command".to_owned(), "true".to_owned());
        let wrong = [
            signed(&claims, earlier, &ordered),
            signed(&renamed, validity, &ordered),
            signed(&more, validity, &ordered),
            signed(&bound, validity, &ordered),
            signed(&claims, validity, &ordered[..1]),
            signed(&claims, validity, &[ordered[0].clone(), extra("flag", "x")]),
            signed(&claims, validity, &[&ordered[..], &[extra("more", "")]].concat()),
        ];
        for certificate in wrong {
            assert!(matches!(judged(certificate), Err(IssueError::Check(_))));
        }
    }
}
