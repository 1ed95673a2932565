//! What auth remembers of those it enrolled: bots' instances with their lineage, hosts with their keys and names,
//! and the uses of tokens.

pub mod claim;
pub mod host;
pub mod host_names;
pub mod instance;
pub mod lineage;
pub mod trace;

use crate::catalog::layout;
use jiff::Timestamp;
use store::{Expect, Txn};

/// Binds a subject key to its owner until the certificate over it ends: the same key can never be enrolled for
/// somebody else. The transaction fails if the key is bound already.
pub fn bind_key(txn: Txn, fingerprint: &str, owner: &str, until: Timestamp) -> Txn {
    let key = layout::subject_key(fingerprint);
    txn.expect(key.clone(), Expect::Absent).put_until(key, owner.to_owned(), until)
}
