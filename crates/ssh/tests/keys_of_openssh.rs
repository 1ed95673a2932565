//! Keys, certificates and signatures that `ssh-keygen` and `openssl` make, and what they read of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh::algorithms::{KeyAlgorithm, SignatureScheme};
use ssh::keys::{KeyError, PublicKey, SigningKey};
use tempfile::TempDir;

/// Runs a program to its end in a directory; gives what it printed.
fn run(directory: &Path, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    let output = command.output().expect("the program is installed");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The blob in a line of a `.pub` file.
fn blob(line: &str) -> Vec<u8> {
    STANDARD.decode(line.trim().split(' ').nth(1).expect("a key")).expect("base64")
}

fn blob_in(file: impl AsRef<Path>) -> Vec<u8> {
    blob(&fs::read_to_string(file).expect("the file"))
}

/// A key of `ssh-keygen`, without a passphrase; the file of its public half.
fn keygen(directory: &Path, name: &str, kind: &[&str]) -> PathBuf {
    run(directory, "ssh-keygen", &[&["-q", "-N", "", "-f", name, "-C", "test"], kind].concat());
    directory.join(format!("{name}.pub"))
}

/// A key of `openssl`, in `NAME.pem`, and as it is read from PKCS#8.
fn genpkey(directory: &Path, name: &str, kind: &[&str]) -> Result<SigningKey, KeyError> {
    let (pem, der) = (format!("{name}.pem"), format!("{name}.der"));
    run(directory, "openssl", &[&["genpkey", "-out", &pem], kind].concat());
    run(directory, "openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", &pem, "-outform", "DER", "-out", &der]);
    SigningKey::from_pkcs8(&fs::read(directory.join(der)).expect("the key"))
}

/// Name, arguments of `ssh-keygen`, and how such a key signs.
type Kind = (&'static str, &'static [&'static str], &'static [SignatureScheme]);

const RSA: &[SignatureScheme] = &[SignatureScheme::RsaSha512, SignatureScheme::RsaSha256];

const KINDS: [Kind; 4] = [
    ("ed25519", &["-t", "ed25519"], &[SignatureScheme::Ed25519]),
    ("p256", &["-t", "ecdsa", "-b", "256"], &[SignatureScheme::EcdsaP256]),
    ("rsa2048", &["-t", "rsa", "-b", "2048"], RSA),
    ("rsa3072", &["-t", "rsa", "-b", "3072"], RSA),
];

#[test]
fn keys_of_ssh_keygen_are_read() {
    let directory = TempDir::new().expect("a directory");
    for (name, kind, schemes) in KINDS {
        let file = keygen(directory.path(), name, kind);
        let key = PublicKey::read(&blob_in(&file)).expect("is read");
        assert_eq!(key.blob(), blob_in(&file), "{name}");
        assert_eq!(key.schemes(), schemes, "{name}");
        let listed = run(directory.path(), "ssh-keygen", &["-l", "-f", &format!("{name}.pub")]);
        assert_eq!(listed.split(' ').nth(1), Some(key.fingerprint().as_str()), "{name}");
    }
}

/// Row C12: what `ssh-keygen` makes and we do not take.
#[test]
fn c12_other_keys_of_ssh_keygen_are_refused() {
    let directory = TempDir::new().expect("a directory");
    let cases: [(&str, &[&str], KeyError); 4] = [
        ("rsa1024", &["-t", "rsa", "-b", "1024"], KeyError::Weak),
        ("dsa", &["-t", "dsa"], KeyError::Unsupported),
        ("p384", &["-t", "ecdsa", "-b", "384"], KeyError::Unsupported),
        ("p521", &["-t", "ecdsa", "-b", "521"], KeyError::Unsupported),
    ];
    for (name, kind, refused) in cases {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-f", name]).args(kind).current_dir(&directory).stdin(Stdio::null());
        if !command.status().expect("ssh-keygen is installed").success() {
            eprintln!("skipped {name}: this ssh-keygen makes no such keys any more");
            continue;
        }
        let file = directory.path().join(format!("{name}.pub"));
        assert_eq!(PublicKey::read(&blob_in(file)), Err(refused), "{name}");
    }
}

#[test]
fn the_key_inside_a_certificate_is_found() {
    let directory = TempDir::new().expect("a directory");
    for (authority, kind, _) in &KINDS[..3] {
        keygen(directory.path(), &format!("ca-{authority}"), kind);
    }
    for (name, kind, schemes) in KINDS {
        let plain = PublicKey::read(&blob_in(keygen(directory.path(), name, kind))).expect("is read");
        for (authority, _, _) in &KINDS[..3] {
            let (authority, file) = (format!("ca-{authority}"), format!("{name}.pub"));
            let sign = ["-q", "-s", &authority, "-I", "id", "-n", "alice", "-V", "+5m", &file];
            run(directory.path(), "ssh-keygen", &sign);
            let certificate = blob_in(directory.path().join(format!("{name}-cert.pub")));

            for algorithm in KeyAlgorithm::ALL {
                let its_own = algorithm.certificate && schemes.contains(&algorithm.scheme);
                let expected = if its_own { Ok(plain.clone()) } else { Err(KeyError::OtherType) };
                assert_eq!(PublicKey::of(algorithm, &certificate), expected, "{name} as {algorithm}");
            }
            assert_eq!(
                PublicKey::read(&certificate),
                Err(KeyError::Unsupported),
                "a certificate is no plain key"
            );

            let algorithm = KeyAlgorithm { scheme: schemes[0], certificate: true };
            let huge = [&certificate[..], &[0; 16 * 1024]].concat();
            assert_eq!(PublicKey::of(algorithm, &huge), Err(KeyError::Malformed), "over 16 KiB");
            for end in 0..certificate.len() {
                let cut = PublicKey::of(algorithm, &certificate[..end]);
                assert!(cut == Ok(plain.clone()) || cut == Err(KeyError::Malformed), "{name}, {end} bytes");
            }
        }
    }
}

#[test]
fn private_keys_of_openssl_sign() {
    let directory = TempDir::new().expect("a directory");
    let odd_rsa =
        ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2056", "-pkeyopt", "rsa_keygen_pubexp:3"];
    let kinds: [(&str, &[&str], &[SignatureScheme]); 4] = [
        ("ed25519", &["-algorithm", "ED25519"], KINDS[0].2),
        ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], KINDS[1].2),
        ("rsa2048", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], RSA),
        ("rsa2056", &odd_rsa, RSA),
    ];
    for (name, kind, schemes) in kinds {
        let key = genpkey(directory.path(), name, kind).expect("is read");
        assert_eq!(key.schemes(), schemes, "{name}");
        let public = PublicKey::read(&key.public().blob()).expect("is read");
        for scheme in schemes {
            let signature = key.sign(*scheme, b"message").expect("signs");
            assert_eq!(public.verify(*scheme, b"message", &signature), Ok(()), "{name}");
            assert_eq!(
                public.verify(*scheme, b"massage", &signature),
                Err(KeyError::WrongSignature),
                "{name}"
            );
        }
        // ssh-keygen finds the same public key in the same file. It does not know Ed25519 in PKCS#8.
        if name != "ed25519" {
            run(
                directory.path(),
                "openssl",
                &["pkey", "-in", &format!("{name}.pem"), "-pubout", "-out", "public"],
            );
            let theirs = run(directory.path(), "ssh-keygen", &["-i", "-m", "PKCS8", "-f", "public"]);
            assert_eq!(blob(&theirs), public.blob(), "{name}");
        }
    }
    for (name, kind) in [
        ("rsa1024", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]),
        ("p384", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    ] {
        assert_eq!(genpkey(directory.path(), name, &kind).err(), Some(KeyError::Unsupported), "{name}");
    }
}

/// Row C12: a signature with SHA-1 is refused under every name, the others under every name but their own.
#[test]
fn c12_rsa_signatures_of_openssl_are_taken_under_their_own_name_only() {
    let directory = TempDir::new().expect("a directory");
    let kind = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let key = genpkey(directory.path(), "rsa", &kind).expect("is read");
    fs::write(directory.path().join("message"), "message").expect("written");
    let named = |name: &str, signature: &[u8]| {
        let string = |part: &[u8]| [&u32::try_from(part.len()).expect("short").to_be_bytes(), part].concat();
        [string(name.as_bytes()), string(signature)].concat()
    };
    for (hash, own) in [
        ("-sha1", None),
        ("-md5", None),
        ("-sha256", Some(SignatureScheme::RsaSha256)),
        ("-sha384", None),
        ("-sha512", Some(SignatureScheme::RsaSha512)),
    ] {
        let sign = ["dgst", hash, "-sign", "rsa.pem", "-out", "signature", "message"];
        run(directory.path(), "openssl", &sign);
        let signature = fs::read(directory.path().join("signature")).expect("the signature");
        for scheme in [SignatureScheme::RsaSha256, SignatureScheme::RsaSha512] {
            let verified = key.public().verify(scheme, b"message", &named(scheme.name(), &signature));
            let expected = if own == Some(scheme) { Ok(()) } else { Err(KeyError::WrongSignature) };
            assert_eq!(verified, expected, "{hash} as {scheme:?}");
            let old_name = key.public().verify(scheme, b"message", &named("ssh-rsa", &signature));
            assert_eq!(old_name, Err(KeyError::OtherType), "{hash} as ssh-rsa");
        }
    }
}

/// Some clients leave out the leading zeros of an RSA signature; OpenSSH takes that, and so do we.
#[test]
fn an_rsa_signature_may_lack_its_leading_zeros() {
    let directory = TempDir::new().expect("a directory");
    let kind = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let key = genpkey(directory.path(), "rsa", &kind).expect("is read");
    let scheme = SignatureScheme::RsaSha256;
    let start = 4 + scheme.name().len() + 4;
    let (message, signature) = (0_u32..)
        .map(|number| (number.to_be_bytes(), key.sign(scheme, &number.to_be_bytes()).expect("signs")))
        .find(|(_, signature)| signature[start] == 0)
        .expect("one in 256 begins with a zero");
    assert_eq!(key.public().verify(scheme, &message, &signature), Ok(()));
    let shorter = [&signature[..start - 4], &255_u32.to_be_bytes(), &signature[start + 1..]].concat();
    assert_eq!(key.public().verify(scheme, &message, &shorter), Ok(()));
}
