//! The real OpenSSH on the other side: its `ssh-keygen` reads and signs, its `ssh` and `sshd` accept and refuse.

mod forge;

use access::SystemRole;
use forge::people::{full_bot, host, person};
use forge::ssh::{Certificate, Signer};
use forge::{cluster, subject_key};
use identity::key::SubjectKey;
use identity::openssh::{self, SshConfig, UserAuthority};
use identity::ssh::SshCertificate;
use identity::verify::ssh;
use identity::{Identity, Refusal, TrustBundle};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// OpenSSH reads the real clock, so these tests live in it too.
fn real_now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_second(i64::try_from(since.as_secs()).expect("before the year 292 billion"))
        .expect("a time")
}

fn current(certificate: Certificate) -> Certificate {
    let now = u64::try_from(real_now().as_second()).expect("after 1970");
    certificate.with(|certificate| {
        certificate.valid_after = now - 60;
        certificate.valid_before = now + 600;
    })
}

/// Without the tool, the test says so and passes.
fn tool(path: &str) -> Option<&str> {
    let there = Path::new(path).exists();
    if !there {
        eprintln!("skipped: {path} is not installed");
    }
    there.then_some(path)
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn put(directory: &Path, name: &str, contents: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, contents).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    path
}

/// The certificate of an identity over one of our keys.
fn about(identity: &Identity, key: &SubjectKey) -> Certificate {
    let blob = key.ssh_public().to_bytes().expect("a blob");
    let name = 4 + "ecdsa-sha2-nistp256".len();
    Certificate::of(identity).with(|certificate| certificate.subject = blob[name..].to_vec())
}

fn line(blob: &[u8]) -> String {
    SshCertificate::from_blob(blob).expect("a certificate").line()
}

mod keygen {
    use super::*;

    const KEYGEN: &str = "/usr/bin/ssh-keygen";

    #[test]
    fn lists_what_we_wrote() {
        let Some(keygen) = tool(KEYGEN) else { return };
        let directory = TempDir::new().expect("a directory");
        let signer = Signer::ed25519();
        let path =
            put(directory.path(), "cert.pub", &line(&current(Certificate::of(&full_bot())).sign(&signer)));
        let output = run(Command::new(keygen).arg("-L").arg("-f").arg(&path));
        let listed = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        for expected in [
            "user certificate",
            "Key ID: \"bot-example\"",
            "Serial: 99",
            "source-address 192.0.2.7/32",
            "permit-pty",
            "permit-port-forwarding",
            "                root\n",
            "                deploy\n",
            "bot-instance-id@goteleport.com",
            "teleport-roles",
        ] {
            assert!(listed.contains(expected), "{expected} in {listed}");
        }
    }

    /// `-Q` asks a list about a certificate, `-Q -l` prints what it says.
    #[test]
    fn reads_our_revocation_list() {
        let Some(keygen) = tool(KEYGEN) else { return };
        let directory = TempDir::new().expect("a directory");
        let (signer, other) = (Signer::ed25519(), Signer::ed25519());
        let mut trust = TrustBundle::empty(cluster());
        trust.user.ssh.push(signer.public());
        let revoked = |ids: &[&str], serials: &[u64]| {
            let (key_ids, serials) =
                (ids.iter().map(|id| (*id).to_owned()).collect(), serials.iter().copied().collect());
            let list = openssh::RevocationList {
                trust: &trust,
                key_ids: &key_ids,
                serials: &serials,
                version: 7,
                made_at: real_now(),
            };
            let path = directory.path().join(format!("revoked-{}-{}", ids.len(), serials.len()));
            fs::write(&path, list.encode()).expect("written");
            path
        };
        let certificate = |name: &str, identity: &Identity, signer: &Signer| {
            put(directory.path(), name, &line(&current(Certificate::of(identity)).sign(signer)))
        };
        let bot = certificate("bot.pub", &full_bot(), &signer);
        let elsewhere = certificate("elsewhere.pub", &full_bot(), &other);
        let alice = certificate("alice.pub", &person(), &signer);
        let is_good = |list: &Path, certificate: &Path| {
            let output = run(Command::new(keygen).arg("-Q").arg("-f").arg(list).arg(certificate));
            let said = text(&output.stdout);
            assert_eq!(said.contains("REVOKED"), !output.status.success(), "{said}{}", text(&output.stderr));
            output.status.success()
        };
        let (none, two) = (revoked(&[], &[]), revoked(&["bot-example", "bot-other"], &[]));
        let numbered = certificate("numbered.pub", &person(), &signer);
        assert!(is_good(&revoked(&[], &[1, 100]), &numbered));
        assert!(!is_good(&revoked(&["somebody"], &[1, 99, u64::MAX]), &numbered), "its serial is 99");
        for certificate in [&bot, &elsewhere, &alice] {
            assert!(is_good(&none, certificate), "{}", certificate.display());
        }
        assert!(!is_good(&two, &bot));
        assert!(is_good(&two, &alice), "another user of the same authority");
        assert!(is_good(&two, &elsewhere), "a user of that name, of an authority that is not the cluster's");
        // What no user can be called costs nobody else's lock, and not the list.
        for odd in ["bot\0", "\0", "a\nb", "\r\u{1b}[2J", "\u{fffd}", "#", "id: x"] {
            let list = revoked(&[odd, "bot-example"], &[5]);
            assert!(!is_good(&list, &bot), "{odd:?}");
            assert!(is_good(&list, &alice), "{odd:?}");
        }
        // As many as a server is told of, and more, by two authorities.
        let many: Vec<u64> = (0..150_000).map(|at| u64::MAX - at).chain([99]).collect();
        let mut both = trust.clone();
        both.user.ssh.push(other.public());
        let list = openssh::RevocationList {
            trust: &both,
            key_ids: &BTreeSet::new(),
            serials: &many.iter().copied().collect(),
            version: 8,
            made_at: real_now(),
        };
        let encoded = list.encode();
        assert!(encoded.len() < 2 * (150_001 * 8 + 200) + 100, "{} bytes", encoded.len());
        let path = directory.path().join("many");
        fs::write(&path, encoded).expect("written");
        assert!(!is_good(&path, &numbered) && !is_good(&path, &elsewhere), "each has the serial 99");
        let output = run(Command::new(keygen).args(["-Q", "-l", "-f"]).arg(&path));
        assert!(output.status.success(), "{}", text(&output.stderr));
        // It prints what follows each other as one, for each authority.
        let range = format!("serial: {}-{}", u64::MAX - 149_999, u64::MAX);
        assert_eq!(text(&output.stdout).matches(&range).count(), 2, "{}", text(&output.stdout));
        let output = run(Command::new(keygen).args(["-Q", "-l", "-f"]).arg(&two));
        let listed = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        for part in ["KRL version 7", "locks of example.com", "id: bot-example", "id: bot-other"] {
            assert!(listed.contains(part), "{part:?} is not in:\n{listed}");
        }
    }

    #[test]
    fn reads_our_private_key() {
        let Some(keygen) = tool(KEYGEN) else { return };
        let directory = TempDir::new().expect("a directory");
        let key = subject_key();
        let path = put(directory.path(), "key", &key.to_pem().expect("PEM"));
        let output = run(Command::new(keygen).arg("-y").arg("-f").arg(&path));
        let ours = key.ssh_public().to_openssh().expect("a line");
        assert_eq!(text(&output.stdout).trim(), ours.trim());
        let output = run(Command::new(keygen).arg("-l").arg("-f").arg(&path));
        assert!(text(&output.stdout).contains(&key.public().fingerprint()));
    }

    struct Keygen {
        directory: TempDir,
        trust: TrustBundle,
    }

    impl Keygen {
        /// An authority and a user's key, both made by `ssh-keygen`.
        fn new(program: &str) -> Self {
            let directory = TempDir::new().expect("a directory");
            for (name, kind) in [("ca", "ed25519"), ("key", "ecdsa")] {
                let path = directory.path().join(name);
                let output = run(Command::new(program).args(["-q", "-N", "", "-t", kind, "-f"]).arg(&path));
                assert!(output.status.success(), "{}", text(&output.stderr));
            }
            let mut trust = TrustBundle::empty(cluster());
            let ca = fs::read_to_string(directory.path().join("ca.pub")).expect("a key");
            trust.user.ssh.push(ssh_key::PublicKey::from_openssh(&ca).expect("a key"));
            Self { directory, trust }
        }

        /// Signs with `ssh-keygen -s` and shows the result to the verifier.
        fn verdict(&self, arguments: &[&str]) -> Result<Identity, Refusal> {
            let path = |name: &str| self.directory.path().join(name);
            let output = run(Command::new(KEYGEN)
                .args(["-q", "-s"])
                .arg(path("ca"))
                .args(["-I", "alice"])
                .args(arguments)
                .arg(path("key.pub")));
            assert!(output.status.success(), "{}", text(&output.stderr));
            let line = fs::read_to_string(path("key-cert.pub")).expect("a certificate");
            let certificate = SshCertificate::from_line(&line)?;
            let login = forge::people::login("root");
            let context =
                ssh::UserContext { trust: &self.trust, now: real_now(), peer: None, login: Some(&login) };
            ssh::user(certificate.blob(), &context).map(|verified| verified.identity().clone())
        }
    }

    const ROLES: &str = "extension:teleport-roles={\"version\":\"v1\",\"roles\":[\"access\"]}";
    const CLUSTER: &str = "extension:teleport-route-to-cluster=example.com";

    #[test]
    fn its_certificates_are_accepted_and_refused() {
        let Some(program) = tool(KEYGEN) else { return };
        let keygen = Keygen::new(program);
        let with = |extra: &[&str]| keygen.verdict(&[&["-O", ROLES, "-O", CLUSTER], extra].concat());
        let code = |extra: &[&str]| with(extra).expect_err("refused").code();
        let hour = ["-n", "root", "-V", "-1m:+1h"];
        let accepted = with(&hour).expect("accepted");
        assert_eq!(accepted.user().map(|user| user.permits.pty), Some(true));
        assert_eq!(code(&["-n", "root"]), "bad_validity", "for ever");
        assert_eq!(code(&["-V", "-1m:+1h"]), "no_principals");
        assert_eq!(code(&["-n", "deploy", "-V", "-1m:+1h"]), "login_not_in_certificate");
        assert_eq!(code(&["-n", "root", "-V", "-2h:-1h"]), "expired");
        assert_eq!(code(&["-n", "root", "-V", "+1h:+2h"]), "not_yet_valid");
        assert_eq!(code(&[&hour[..], &["-h"]].concat()), "wrong_cert_type");
        assert_eq!(code(&[&hour[..], &["-O", "force-command=id"]].concat()), "unknown_critical_option");
        assert_eq!(code(&[&hour[..], &["-O", "source-address=10.0.0.0/8"]].concat()), "wrong_source_address");
        assert_eq!(keygen.verdict(&hour).expect_err("refused").code(), "bad_identity");
    }
}

/// `ssh` with our configuration, talking to `sshd -i` through our ProxyCommand: no port is opened.
mod login {
    use super::*;

    const SSHD: &str = "/usr/sbin/sshd";

    struct Setup {
        /// The server's files.
        directory: TempDir,
        /// The client's: in a directory whose name needs every quotation that we write.
        odd: TempDir,
        login: String,
        user: Signer,
        host: Signer,
        host_key: SubjectKey,
        user_key: SubjectKey,
    }

    fn setup() -> Option<Setup> {
        tool(SSHD)?;
        let login = text(&run(Command::new("id").arg("-un")).stdout).trim().to_owned();
        if login == "root" && !Path::new("/run/sshd").is_dir() {
            eprintln!("skipped: sshd wants /run/sshd when it runs as root");
            return None;
        }
        let directory = TempDir::new().expect("a directory");
        let odd = TempDir::with_prefix("it's 100% #1; `x` %h ").expect("a directory");
        let (host_key, user_key) = (subject_key(), subject_key());
        let (user, host) = (Signer::ed25519(), Signer::ed25519());
        Some(Setup { directory, odd, login, user, host, host_key, user_key })
    }

    impl Setup {
        fn trust(&self) -> TrustBundle {
            let mut trust = TrustBundle::empty(cluster());
            trust.user.ssh.push(self.user.public());
            trust.host.ssh.push(self.host.public());
            trust
        }

        fn user_certificate(&self) -> Certificate {
            let identity = forge::people::changed(person(), |user| {
                user.logins = vec![forge::people::login(&self.login)]
            });
            current(about(&identity, &self.user_key))
        }

        /// The host's names include `web-1.example.com`.
        fn host_certificate(&self) -> Certificate {
            current(about(&host(SystemRole::Node), &self.host_key))
        }

        /// Connects as `login@web-1.example.com` and runs `echo here`.
        fn connect(&self, user: &[u8], host: &[u8]) -> (bool, String) {
            let at = |name: &str| self.odd.path().join(name);
            let server = |name: &str, contents: &str| put(self.directory.path(), name, contents);
            let write = |name: &str, contents: &str| put(self.odd.path(), name, contents);
            server("host_key", &self.host_key.to_pem().expect("PEM"));
            server("host_key-cert.pub", &line(host));
            server("user_cas", &openssh::trusted_user_authorities(&self.trust(), UserAuthority::User));
            let sshd = format!(
                "HostKey {0}/host_key\nHostCertificate {0}/host_key-cert.pub\nTrustedUserCAKeys {0}/user_cas\n\
                 AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin yes\nStrictModes no\nUsePAM no\nPidFile none\nLogLevel ERROR\n",
                self.directory.path().display()
            );
            server("sshd_config", &sshd);
            let script = format!(
                "#!/bin/sh\nexec {SSHD} -i -f '{}' -E '{}'\n",
                self.directory.path().join("sshd_config").display(),
                self.directory.path().join("log").display()
            );
            write("connect", &script);
            write("key", &self.user_key.to_pem().expect("PEM"));
            write("key-cert.pub", &line(user));
            write("known_hosts", &openssh::known_hosts(&self.trust(), "proxy.example.net").expect("plain"));
            let config = SshConfig {
                app: "tbot",
                cluster: &cluster(),
                proxy_host: "proxy.example.net",
                known_hosts: &at("known_hosts"),
                key: &at("key"),
                certificate: &at("key-cert.pub"),
                proxy_command: &["/bin/sh".to_owned(), at("connect").display().to_string()],
            };
            write("ssh_config", &config.render().expect("plain words"));
            let output = run(Command::new("ssh")
                .args([
                    "-o",
                    "BatchMode=yes",
                    "-o",
                    "StrictHostKeyChecking=yes",
                    "-o",
                    "GlobalKnownHostsFile=none",
                    "-F",
                ])
                .arg(at("ssh_config"))
                .arg(format!("{}@web-1.example.com", self.login))
                .arg("echo here"));
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            (text(&output.stdout).trim() == "here", text(&output.stderr) + &log)
        }
    }

    #[test]
    fn ours_is_accepted_by_both() {
        let Some(setup) = setup() else { return };
        let user = setup.user_certificate().sign(&setup.user);
        let host = setup.host_certificate().sign(&setup.host);
        let (accepted, why) = setup.connect(&user, &host);
        assert!(accepted, "{why}");
    }

    #[test]
    fn others_are_refused() {
        let Some(setup) = setup() else { return };
        let (right_user, right_host) = (setup.user_certificate(), setup.host_certificate());
        let (user, host) = (right_user.sign(&setup.user), right_host.sign(&setup.host));
        let nobody = about(&forge::people::changed(person(), |user| user.logins.clear()), &setup.user_key);
        let elsewhere =
            right_host.clone().with(|host| host.principals.retain(|name| name != b"web-1.example.com"));
        let cases: [(&str, Vec<u8>, Vec<u8>); 5] = [
            ("a stranger's user", right_user.sign(&Signer::ed25519()), host.clone()),
            ("the host authority's user", right_user.sign(&setup.host), host.clone()),
            ("nobody", current(nobody).sign(&setup.user), host.clone()),
            ("a stranger's host", user.clone(), right_host.sign(&Signer::ed25519())),
            ("another host", user, elsewhere.sign(&setup.host)),
        ];
        for (case, user, host) in cases {
            let (accepted, _) = setup.connect(&user, &host);
            assert!(!accepted, "{case}");
        }
    }
}

/// What ssh and its shell make of the account that somebody types. Names that newer versions of ssh refuse are refused
/// by those; the others arrive as they were, and nothing in them is run.
#[test]
fn the_proxy_command_gets_names_as_they_were_typed() {
    let Some(ssh) = tool("/usr/bin/ssh") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > '{}'\n", at("said").display());
    put(directory.path(), "connect", &script);
    let config = SshConfig {
        app: "tbot",
        cluster: &cluster(),
        proxy_host: "proxy.example.net",
        known_hosts: &at("known_hosts"),
        key: &at("key"),
        certificate: &at("key-cert.pub"),
        proxy_command: &["/bin/sh".to_owned(), at("connect").display().to_string()],
    };
    let config = put(directory.path(), "ssh_config", &config.render().expect("plain words"));
    let ran = at("ran");
    let substituted = [format!("a$(touch {})", ran.display()), format!("a`touch {}`", ran.display())];
    let names = ["root", "DOM\\user", "a b", "a$HOME", "a%h"].map(str::to_owned);
    for (name, may_refuse) in names.iter().zip([false; 5]).chain(substituted.iter().zip([true; 2])) {
        let _ = fs::remove_file(at("said"));
        let mut command = Command::new(ssh);
        command.args(["-o", "BatchMode=yes", "-F"]).arg(&config).args([
            "-l",
            name,
            "web-1.example.com",
            "true",
        ]);
        let output = run(&mut command);
        assert!(!ran.exists(), "{name}: a part of it was run");
        match fs::read_to_string(at("said")) {
            Ok(said) => assert_eq!(said, format!("--user={name}\n--host=web-1.example.com\n--port=3022\n")),
            Err(_) => assert!(may_refuse, "{name}: {}", text(&output.stderr)),
        }
    }
}
