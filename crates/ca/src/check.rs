//! The finished certificates, looked at once more: with the verifiers that everybody else uses, against what was
//! ordered. A certificate that is not exactly that never leaves.

use crate::Issued;
use crate::decide::{IssueError, Order, Validity};
use identity::trust::TrustBundle;
use identity::verify::ssh::{HostContext, UserContext};
use identity::verify::x509::ClientContext;
use identity::verify::{ssh, x509};
use identity::{Identity, Subject};
use jiff::Timestamp;

pub(crate) fn check(
    issued: &Issued,
    order: &Order<'_>,
    validity: Validity,
    trust: &TrustBundle,
    now: Timestamp,
) -> Result<(), IssueError> {
    let peer = match &order.identity.subject {
        Subject::User(user) => user.pinned_ip,
        Subject::Host(_) => None,
    };
    let blob = issued.ssh.blob();
    let (said, before, serial) = match &order.identity.subject {
        Subject::User(_) => {
            let verified = ssh::user(blob, &UserContext { trust, now, peer, login: None })?;
            (verified.identity().clone(), verified.valid_before(), verified.serial())
        }
        Subject::Host(host) => {
            let id = host.id.to_string();
            let verified = ssh::host(blob, &HostContext { trust, now, names: &[&id] })?;
            (verified.identity().clone(), verified.valid_before(), verified.serial())
        }
    };
    agree("SSH", &said, order, before, serial, issued, validity)?;
    let verified = x509::client(&issued.tls_chain, &ClientContext { trust, now, peer })?;
    agree("TLS", verified.identity(), order, verified.valid_before(), verified.serial(), issued, validity)?;
    match verified.key() == order.public_key {
        true => Ok(()),
        false => Err(IssueError::Check("it certifies another key".into())),
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
