use super::*;
use access::SystemRole;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use jiff::Timestamp;
use proptest::prelude::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a valid time")
}

/// With a point that need not be one: its TPM would say so.
fn attestation() -> Vec<u8> {
    let template = AttestationKey::template();
    let point = [wire::sized(&[7; 32]), wire::sized(&[8; 32])].concat();
    [&template[..template.len() - 4], &point].concat()
}

fn endorsement() -> Vec<u8> {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key").public_key();
    AsDer::as_der(&key).expect("encodes").as_ref().to_vec()
}

#[test]
fn keys_have_one_form() {
    let der = endorsement();
    let key = EndorsementKey::from_spki_der(&der).expect("a key");
    assert_eq!((key.spki_der(), key.algorithm()), (&der[..], Algorithm::Rsa2048));
    assert_eq!(key.hash().len(), 64);
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 0x80;
        let parsed = EndorsementKey::from_spki_der(&changed);
        // Inside its modulus it is another key.
        assert_eq!(parsed.is_ok(), (34..289).contains(&at), "byte {at}");
    }
    assert_eq!(EndorsementKey::from_spki_der(&der[1..]), Err(KeyFault::Endorsement));
    assert_eq!(EndorsementKey::from_spki_der(&[&der[..], &[0]].concat()), Err(KeyFault::Endorsement));
}

#[test]
fn an_attestation_key_is_restricted_to_signing_and_fixed_to_its_tpm() {
    let area = attestation();
    let key = AttestationKey::parse(&area).expect("a key");
    assert_eq!((key.name().len(), &key.name()[..2]), (34, &[0, 0x0b][..]));
    let with = |change: &dyn Fn(u32) -> u32| {
        let mut area = area.clone();
        let attributes = u32::from_be_bytes(area[4..8].try_into().expect("four bytes"));
        area[4..8].copy_from_slice(&change(attributes).to_be_bytes());
        AttestationKey::parse(&area)
    };
    for bit in [1, 4, 5, 16, 18] {
        assert_eq!(with(&|attributes| attributes & !(1 << bit)), Err(KeyFault::Attributes), "bit {bit}");
    }
    assert_eq!(with(&|attributes| attributes | 1 << 17), Err(KeyFault::Attributes), "it may not decrypt");
    assert_eq!(AttestationKey::parse(&[&area[..], &[0]].concat()), Err(KeyFault::Attestation));
    assert_eq!(AttestationKey::parse(&area[..area.len() - 1]), Err(KeyFault::Attestation));
}

#[test]
fn the_secret_belongs_to_one_claim_and_its_keys() {
    let challenges = ChallengeKey::new(&[1; 32]);
    let challenge = challenges.issue(now(), [0; 16]);
    let claim = Claim {
        token: "rack",
        role: SystemRole::Bot,
        attempt: &[1; 32],
        public_key: &[2; 91],
        challenge: challenge.as_bytes(),
    };
    let (key, area) = (endorsement(), attestation());
    let showing = Showing { endorsement_key: &key, endorsement_certificate: &[], attestation_key: &area };
    let first = secret(&claim, &showing, &challenges);
    assert_eq!(secret(&claim, &showing, &challenges), first);
    let other = challenges.issue(now(), [1; 16]);
    for changed in [
        Claim { token: "other", ..claim },
        Claim { role: SystemRole::Node, ..claim },
        Claim { attempt: &[2; 32], ..claim },
        Claim { public_key: &[3; 91], ..claim },
        Claim { challenge: other.as_bytes(), ..claim },
    ] {
        assert_ne!(secret(&changed, &showing, &challenges), first);
    }
    for changed in [
        Showing { endorsement_key: &[], ..showing },
        Showing { endorsement_certificate: &[1], ..showing },
        Showing { attestation_key: &[], ..showing },
    ] {
        assert_ne!(secret(&claim, &changed, &challenges), first);
    }
    assert_ne!(secret(&claim, &showing, &ChallengeKey::new(&[2; 32])), first);
    let made = super::challenge(&claim, &challenge, &showing, &challenges, &[9; 32]).expect("is made");
    // The integrity value, then the encrypted secret and its length; a seed for a key of 2048 bits.
    assert_eq!((made.object.len(), made.seed.len()), (2 + 32 + 2 + 32, 256));
}

#[test]
fn serial_numbers_are_written_in_one_way() {
    assert_eq!(serial_text(&[0, 0x73, 0x0f]), "73:0f");
    assert_eq!(serial_text(&[2]), "02");
    assert_eq!(serial_text(&[]), "");
}

proptest! {
    #[test]
    fn whatever_a_stranger_sends_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = EndorsementKey::from_spki_der(&bytes);
        let _ = AttestationKey::parse(&bytes);
        let _ = certificate::serial_of(&bytes);
        let key = EndorsementKey::from_spki_der(&[&[0x30], &bytes[..]].concat());
        prop_assert!(key.is_err());
    }

    #[test]
    fn a_damaged_attestation_key_is_read_or_refused(at in 0usize..90, byte in any::<u8>()) {
        let mut area = attestation();
        if let Some(place) = area.get_mut(at) { *place = byte }
        let _ = AttestationKey::parse(&area).map(|key| key.name());
    }
}
