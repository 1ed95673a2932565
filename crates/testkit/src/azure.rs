//! What Azure signs with, made by OpenSSL: a root, an issuing authority and signers under it, and PKCS #7 by them.

use crate::programs::{command, theirs};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Authorities and their signers.
pub struct AzureSigners {
    directory: TempDir,
}

/// Somebody with a certificate of the issuing authority.
pub struct Signer {
    certificate: PathBuf,
    key: PathBuf,
}

impl Signer {
    /// Its certificate and its key, PEM files.
    pub fn paths(&self) -> (&str, &str) {
        (self.certificate.to_str().expect("a plain path"), self.key.to_str().expect("a plain path"))
    }
}

impl AzureSigners {
    /// None where openssl is not installed, which is said.
    pub fn new() -> Option<Self> {
        theirs("openssl")?;
        let made = Self { directory: tempfile::tempdir().expect("a scratch directory") };
        // As those of Microsoft: roots of either kind, authorities and signers with RSA.
        let curve = "ec_paramgen_curve:P-384";
        let root = "req -x509 -sha384 -newkey ec -pkeyopt CURVE -nodes -keyout root.key -out root.pem -days 9000 \
                    -subj /CN=Root -addext keyUsage=critical,keyCertSign,cRLSign";
        made.run(&root.replace("CURVE", curve));
        made.issue("issuing", "root", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n");
        Some(made)
    }

    /// A signer with these names, whose certificate says that the authority's own is at `url`.
    pub fn signer(&self, names: &[&str], url: &str) -> Signer {
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names =
            if names.is_empty() { String::new() } else { format!("subjectAltName={}\n", names.join(",")) };
        let usage = "extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=critical,digitalSignature\n";
        self.issue("signer", "issuing", &format!("{names}{usage}authorityInfoAccess=caIssuers;URI:{url}\n"))
    }

    /// A certificate with these extensions, from this authority.
    pub fn issue(&self, name: &str, by: &str, extensions: &str) -> Signer {
        std::fs::write(self.file("extensions"), extensions).expect("written");
        self.run(&format!("req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        self.run(&format!(
            "x509 -req -sha256 -in {name}.csr -CA {by}.pem -CAkey {by}.key -CAcreateserial -days 8000 -extfile \
             extensions -out {name}.pem"
        ));
        // The next of that name does not take its place.
        let own = |kind: &str| self.file(&format!("{name}-{}.{kind}", self.count()));
        let (certificate, key) = (own("pem"), own("key"));
        std::fs::copy(self.file(&format!("{name}.pem")), &certificate).expect("copied");
        std::fs::copy(self.file(&format!("{name}.key")), &key).expect("copied");
        Signer { certificate, key }
    }

    /// PKCS #7 over this content, with more words for `openssl cms`. `-noattr` is what Azure does.
    pub fn sign(&self, signer: &Signer, content: &[u8], more: &[&str]) -> Vec<u8> {
        std::fs::write(self.file("content"), content).expect("written");
        let mut sign = command("openssl");
        sign.current_dir(self.directory.path());
        sign.args([
            "cms",
            "-sign",
            "-binary",
            "-nodetach",
            "-outform",
            "DER",
            "-in",
            "content",
            "-out",
            "signed",
        ]);
        sign.arg("-signer").arg(&signer.certificate).arg("-inkey").arg(&signer.key).args(more);
        crate::run(&mut sign).ok();
        std::fs::read(self.file("signed")).expect("it was written")
    }

    /// As the service for metadata signs: without attributes, and with the algorithm of the signature in place of the digest's.
    pub fn attest(&self, signer: &Signer, content: &[u8]) -> Vec<u8> {
        let mut signed = self.sign(signer, content, &["-noattr", "-md", "sha256"]);
        let (sha256, with_rsa) =
            ([0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], [0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11]);
        let at = |signed: &[u8], from| (from..signed.len() - 9).find(|at| signed[*at..*at + 9] == sha256);
        let mut from = 0;
        while let Some(found) = at(&signed, from) {
            signed[found..found + 9].copy_from_slice(&with_rsa);
            from = found + 9;
        }
        signed
    }

    /// The root, PEM.
    pub fn root(&self) -> String {
        std::fs::read_to_string(self.file("root.pem")).expect("it was made")
    }

    /// The issuing authority's certificate, DER.
    pub fn issuing(&self) -> Vec<u8> {
        self.run("x509 -in issuing.pem -outform DER -out issuing.der");
        std::fs::read(self.file("issuing.der")).expect("it was written")
    }

    fn count(&self) -> usize {
        std::fs::read_dir(self.directory.path()).expect("listed").count()
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }

    fn run(&self, words: &str) {
        let mut openssl = command("openssl");
        crate::run(openssl.current_dir(self.directory.path()).args(words.split_whitespace())).ok();
    }
}
