//! Attested documents, signed by OpenSSL under authorities of its making; what is forged is refused.

use jiff::{SignedDuration, Timestamp};
use join::azure::{Attested, Unattested, authorities, issuer_url, signer, stated_nonce};
use testkit::AzureSigners;
use testkit::azure::Signer;

const NONCE: &str = "abcdefghijklmnopqrstuvwxyz-_0123";
const SUBSCRIPTION: &str = "01234567-89AB-cdef-0123-456789abcdef";
const MACHINE: &str = "bd8e7443-24a0-41f3-b949-8baf4fd1c573";
const NAMES: [&str; 2] = ["metadata.azure.com", "westus.metadata.azure.com"];
const URL: &str = "http://www.example.com/pki/Issuing%20CA.crt";

/// Authorities, and a signer as the metadata service is one.
struct Azure {
    signers: AzureSigners,
    signer: Signer,
    roots: Vec<Vec<u8>>,
    issuing: Vec<u8>,
}

impl Azure {
    fn new() -> Option<Self> {
        let signers = AzureSigners::new()?;
        let signer = signers.signer(&NAMES, URL);
        let roots = authorities(&signers.root()).expect("an authority");
        let issuing = signers.issuing();
        Some(Self { signers, signer, roots, issuing })
    }

    fn attest(&self, text: &str) -> Vec<u8> {
        self.signers.attest(&self.signer, text.as_bytes())
    }

    fn verify(&self, document: &[u8], now: Timestamp) -> Result<Attested, Unattested> {
        Attested::verify(document, std::slice::from_ref(&self.issuing), &self.roots, NONCE, now)
    }
}

fn content(now: Timestamp) -> String {
    let time = |at: Timestamp| at.strftime("%m/%d/%y %H:%M:%S -0000").to_string();
    let (from, until) = (time(now), time(now + SignedDuration::from_hours(6)));
    format!(
        "{{\"licenseType\":\"\",\"nonce\":\"{NONCE}\",\"plan\":{{\"name\":\"\"}},\"sku\":\"\",\"subscriptionId\":\"{SUBSCRIPTION}\",\
         \"timeStamp\":{{\"createdOn\":\"{from}\",\"expiresOn\":\"{until}\"}},\"vmId\":\"{MACHINE}\"}}"
    )
}

#[test]
fn what_the_metadata_service_signed_says_which_machine_it_is() {
    let Some(azure) = Azure::new() else { return };
    let now = Timestamp::now();
    let text = content(now);
    let sign = |more: &[&str]| azure.signers.sign(&azure.signer, text.as_bytes(), more);
    for (way, document) in [
        ("as Azure does", azure.attest(&text)),
        ("plainly", sign(&["-noattr"])),
        ("with attributes", sign(&[])),
        ("with SHA-384", sign(&["-md", "sha384"])),
        ("with SHA-512", sign(&["-noattr", "-md", "sha512"])),
    ] {
        let attested = azure.verify(&document, now).unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(attested.subscription(), SUBSCRIPTION.to_lowercase());
        assert_eq!(attested.machine(), MACHINE);
        assert_eq!(attested.cloud().management, "management.azure.com");
        // What the joiner finds in it.
        assert_eq!(stated_nonce(&document).as_deref(), Some(NONCE));
        let signer = signer(&document).expect("is there");
        assert_eq!(issuer_url(&signer).as_deref(), Some(URL));
    }
    assert_eq!(issuer_url(&azure.issuing), None, "it says nothing of its issuer");
}

#[test]
fn each_cloud_has_signers_of_its_own() {
    let Some(azure) = Azure::new() else { return };
    let found = |names: &[&str]| {
        let signer = azure.signers.signer(names, URL);
        let now = Timestamp::now();
        azure.verify(&azure.signers.attest(&signer, content(now).as_bytes()), now)
    };
    for (names, cloud) in [
        (&["*.metadata.azure.com"][..], "AzurePublicCloud"),
        (&["usgovvirginia.metadata.azure.us", "metadata.azure.us"], "AzureUSGovernmentCloud"),
        (&["Metadata.Azure.CN"], "AzureChinaCloud"),
    ] {
        assert_eq!(found(names).map(|attested| attested.cloud().name), Ok(cloud));
    }
    for names in [
        &[][..],
        &["azure.com"],
        &["evilmetadata.azure.com"],
        &["metadata.azure.com.example.com"],
        &["management.azure.com"],
    ] {
        let refused = found(names);
        assert!(matches!(refused, Err(Unattested::OtherSigner(_))), "{names:?}: {refused:?}");
    }
}

#[test]
fn authorities_that_are_not_known_vouch_for_nobody() {
    let Some(azure) = Azure::new() else { return };
    let now = Timestamp::now();
    let document = azure.attest(&content(now));
    let (roots, issuing) = (azure.roots.as_slice(), std::slice::from_ref(&azure.issuing));
    let foreign = |document: &[u8], certificates: &[Vec<u8>], roots: &[Vec<u8>], now| {
        let refused = Attested::verify(document, certificates, roots, NONCE, now);
        assert!(matches!(refused, Err(Unattested::ForeignIssuer(_))), "{refused:?}");
    };
    // Those of Azure alone; the right ones without what leads to them; both given as what leads somewhere.
    foreign(&document, issuing, &[], now);
    foreign(&document, &[], roots, now);
    foreign(&document, &[issuing, roots].concat(), &[], now);
    // Who was given is believed by itself.
    assert!(Attested::verify(&document, &[], issuing, NONCE, now).is_ok());
    // Another root of the same name, and the same certificates before and after their time.
    let other = AzureSigners::new().expect("openssl is there");
    foreign(&document, issuing, &authorities(&other.root()).expect("an authority"), now);
    foreign(&document, issuing, roots, now + SignedDuration::from_hours(24 * 8001));
    foreign(&document, issuing, roots, now - SignedDuration::from_hours(48));
    // A signer of the metadata service issues for nobody.
    let below = azure.signers.issue("below", "signer", "subjectAltName=DNS:metadata.azure.com\n");
    let between = signer(&document).expect("its certificate");
    let now = Timestamp::now();
    let forged = azure.signers.attest(&below, content(now).as_bytes());
    foreign(&forged, &[between, azure.issuing.clone()], roots, now);
    // A certificate for something else than a server.
    let usage = "subjectAltName=DNS:metadata.azure.com\nextendedKeyUsage=emailProtection\n";
    let mail = azure.signers.issue("mail", "issuing", usage);
    let now = Timestamp::now();
    foreign(&azure.signers.attest(&mail, content(now).as_bytes()), issuing, roots, now);
}

#[test]
fn a_document_is_good_for_its_nonce_and_its_time() {
    let Some(azure) = Azure::new() else { return };
    let now = Timestamp::now();
    let document = azure.attest(&content(now));
    let at = |nonce: &str, minutes| {
        let now = now + SignedDuration::from_mins(minutes);
        Attested::verify(&document, std::slice::from_ref(&azure.issuing), &azure.roots, nonce, now)
    };
    assert!(at(NONCE, 0).is_ok() && at(NONCE, 359).is_ok());
    for nonce in ["", "abcdefghijklmnopqrstuvwxyz-_0124"] {
        assert_eq!(at(nonce, 0), Err(Unattested::Nonce));
    }
    assert!(matches!(at(NONCE, 362), Err(Unattested::Validity { .. })));
    let early = azure.verify(&azure.attest(&content(now + SignedDuration::from_mins(3))), now);
    assert!(matches!(early, Err(Unattested::Validity { .. })), "{early:?}");
    for (text, instead) in [
        ("\"vmId\"", "\"vm\""),
        ("\"subscriptionId\"", "\"subscription\""),
        (MACHINE, "../../../../subscriptions"),
        ("-0000", "soon"),
        ("\"nonce\"", "\"nonce\":\"x\",\"nonce\""),
        (",\"vmId\"", "\"vmId\""),
    ] {
        let changed = azure.attest(&content(now).replace(text, instead));
        let refused = azure.verify(&changed, now);
        assert!(matches!(refused, Err(Unattested::Content(_))), "{text}: {refused:?}");
    }
}

#[test]
fn nothing_else_than_what_was_signed_is_believed() {
    let Some(azure) = Azure::new() else { return };
    let now = Timestamp::now();
    let text = content(now);
    let verify = |document: &[u8]| azure.verify(document, now);
    let at = |document: &[u8], part: &[u8]| {
        document.windows(part.len()).position(|window| window == part).expect("is in there")
    };
    for more in [&["-noattr"][..], &[]] {
        let good = azure.signers.sign(&azure.signer, text.as_bytes(), more);
        let attested = verify(&good);
        assert!(attested.is_ok(), "{attested:?}");
        // Another machine.
        let mut swapped = good.clone();
        swapped[at(&good, MACHINE.as_bytes())] = b'0';
        assert_eq!(verify(&swapped), Err(Unattested::Signature));
        // The signature is the last thing in it.
        let mut forged = good.clone();
        *forged.last_mut().expect("it has bytes") ^= 1;
        assert_eq!(verify(&forged), Err(Unattested::Signature));
        // With something behind it, cut off, and every byte changed: never another machine than the one.
        assert_eq!(verify(&[&good[..], &[0]].concat()), Err(Unattested::Malformed));
        assert_eq!(verify(&good[..good.len() - 1]), Err(Unattested::Malformed));
        for place in 0..good.len() {
            let mut changed = good.clone();
            changed[place] ^= 0x10;
            let verified = verify(&changed);
            assert!(verified.is_err() || verified == attested, "byte {place}");
        }
    }
    // The key of another signer, under the name of this one.
    let other = azure.signers.signer(&NAMES, URL);
    let (ours, theirs) = (azure.attest(&text), azure.signers.attest(&other, text.as_bytes()));
    let mixed = [&ours[..ours.len() - 256], &theirs[theirs.len() - 256..]].concat();
    assert_eq!(verify(&mixed), Err(Unattested::Signature));
}

#[test]
fn what_is_no_such_document_is_refused_whatever_it_is() {
    let Some(azure) = Azure::new() else { return };
    let now = Timestamp::now();
    let text = content(now);
    let sign = |more: &[&str]| azure.signers.sign(&azure.signer, text.as_bytes(), more);
    // Two signers: which of them is meant?
    let other = azure.signers.signer(&NAMES, URL);
    let (certificate, key) = other.paths();
    for (what, document) in [
        ("of indefinite length", sign(&["-stream"])),
        ("by a key's name", sign(&["-keyid"])),
        ("with SHA-1", sign(&["-noattr", "-md", "sha1"])),
        ("with MD5", sign(&["-noattr", "-md", "md5"])),
        ("with RSA-PSS", sign(&["-keyopt", "rsa_padding_mode:pss"])),
        ("of another type", sign(&["-econtent_type", "1.2.3.4"])),
        ("by two", sign(&["-noattr", "-signer", certificate, "-inkey", key])),
        ("huge", azure.attest(&" ".repeat(64 * 1024))),
        ("a certificate", azure.issuing.clone()),
        ("empty", vec![]),
        ("text", text.clone().into_bytes()),
        ("zeros", vec![0; 4096]),
        ("deep", [0x30, 0x80].repeat(4096)),
    ] {
        assert_eq!(azure.verify(&document, now), Err(Unattested::Malformed), "{what}");
        assert_eq!((signer(&document), stated_nonce(&document)), (None, None), "{what}");
    }
    assert_eq!(azure.verify(&sign(&["-nocerts"]), now), Err(Unattested::Malformed));
}
