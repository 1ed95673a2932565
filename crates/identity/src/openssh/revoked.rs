//! `RevokedKeys` of a stock server: a key revocation list (OpenSSH PROTOCOL.krl), binary, made from scratch each time.
//!
//! Certificates are named below each authority that signs users: by key id, which is the user's name in ours (`bot-<name>` for a
//! bot) and means everything that somebody holds, or by serial number. A list that revokes nothing is a list all the same: a
//! server refuses every key when the file is missing.

use crate::ssh::wire::put_string;
use crate::trust::TrustBundle;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// "SSHKRL\n\0"
const MAGIC: u64 = 0x5353_484b_524c_0a00;
const FORMAT: u32 = 1;
const SECTION_CERTIFICATES: u8 = 1;
const SECTION_SERIAL_LIST: u8 = 0x20;
const SECTION_KEY_ID: u8 = 0x23;

/// What a list says.
#[derive(Debug, Clone)]
pub struct RevocationList<'a> {
    /// Whose certificates.
    pub trust: &'a TrustBundle,
    /// Key ids of those that are refused.
    pub key_ids: &'a BTreeSet<String>,
    /// Serial numbers of those that are refused.
    pub serials: &'a BTreeSet<u64>,
    /// Counts up from list to list.
    pub version: u64,
    /// When it was made.
    pub made_at: Timestamp,
}

impl RevocationList<'_> {
    /// The file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&FORMAT.to_be_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&u64::try_from(self.made_at.as_second()).unwrap_or(0).to_be_bytes());
        // Flags, of which there are none.
        out.extend_from_slice(&0u64.to_be_bytes());
        put_string(&mut out, b"");
        put_string(&mut out, format!("locks of {}", self.trust.cluster).as_bytes());
        if self.key_ids.is_empty() && self.serials.is_empty() {
            return out;
        }
        for authority in &self.trust.user.ssh {
            // One that has no blob cannot sign either.
            let Ok(blob) = authority.to_bytes() else { continue };
            out.push(SECTION_CERTIFICATES);
            put_string(&mut out, &self.section(&blob));
        }
        out
    }

    fn section(&self, authority: &[u8]) -> Vec<u8> {
        let mut section = Vec::new();
        put_string(&mut section, authority);
        put_string(&mut section, b"");
        let mut add = |kind: u8, entries: Vec<u8>| {
            if !entries.is_empty() {
                section.push(kind);
                put_string(&mut section, &entries);
            }
        };
        // Ascending, and zero is nobody's number.
        let serials = self.serials.iter().filter(|serial| **serial != 0);
        add(SECTION_SERIAL_LIST, serials.flat_map(|serial| serial.to_be_bytes()).collect());
        let mut ids = Vec::new();
        // With a zero byte in it OpenSSH could not read the list, and would let nobody in.
        let readable = self.key_ids.iter().filter(|id| !id.contains('\0'));
        readable.for_each(|id| put_string(&mut ids, id.as_bytes()));
        add(SECTION_KEY_ID, ids);
        section
    }
}

#[cfg(test)]
mod tests {
    use super::RevocationList;
    use crate::trust::{Authority, TrustBundle};
    use access::ClusterName;
    use access::resource::cert_authority::CaKind;
    use std::collections::BTreeSet;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIq//CSwaKrxy2ARhKBSQqMTunhQG4i7Au41cRO6PCz1";

    /// Byte for byte, from the description of the format; what OpenSSH makes of it is in `tests/openssh.rs`.
    #[test]
    fn a_list_is_what_the_format_says() {
        let mut trust = TrustBundle::empty(ClusterName::new("c.example").expect("a name"));
        trust.user = Authority::from_parts(CaKind::User, [KEY], []).expect("an authority");
        let list = |ids: &[&str]| {
            let key_ids: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            let made_at = jiff::Timestamp::from_second(3).expect("a time");
            let serials = BTreeSet::new();
            RevocationList { trust: &trust, key_ids: &key_ids, serials: &serials, version: 2, made_at }
                .encode()
        };
        let mut header = b"SSHKRL\n\0\0\0\0\x01".to_vec();
        header.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
        header.extend_from_slice(&[0; 12]);
        header.extend_from_slice(b"\0\0\0\x12locks of c.example");
        assert_eq!(list(&[]), header);
        let blob = trust.user.ssh[0].to_bytes().expect("a blob");
        assert_eq!(blob.len(), 51);
        header.extend_from_slice(b"\x01\0\0\0\x4f\0\0\0\x33");
        header.extend_from_slice(&blob);
        header.extend_from_slice(b"\0\0\0\0\x23\0\0\0\x0f\0\0\0\x03ann\0\0\0\x04bert");
        assert_eq!(list(&["bert", "ann", "ann"]), header);
    }
}
