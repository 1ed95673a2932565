//! One server, with the system's sshd to say what its configuration is worth. As root: sshd reads no configuration for others.

use super::program::UNDONE;
use super::turn::Turn;
use super::{IN_FORCE, STATE, Server, State};
use crate::agent::member::fresh_key;
use crate::agent::refresh::Followed;
use crate::agent::ssh_host::Issued;
use crate::config::hooks::Action;
use crate::config::{Content, Hook, Method, Output, Sshd};
use crate::destination::{Destination, Directory, Symlinks};
use api::v1::{Authority, SshServerState};
use identity::ssh::SshCertificate;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SSHD: &str = "/usr/sbin/sshd";
const DAY: Duration = Duration::from_secs(86_400);

/// A configuration of sshd, and the service that looks after it.
struct Stock {
    scratch: tempfile::TempDir,
    output: Output,
}

fn keygen(arguments: &[&str], path: &Path) {
    let made = Command::new("/usr/bin/ssh-keygen").arg("-q").args(arguments).arg(path).output();
    let made = made.expect("ssh-keygen runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Stock {
    /// With a certificate and nothing locked; nothing where there is no sshd to ask.
    fn certified() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new(SSHD).exists() {
            return None;
        }
        std::fs::create_dir_all("/run/sshd").expect("sshd wants it");
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let at = |name: &str| scratch.path().join(name);
        for key in ["own", "authority", "later"] {
            keygen(&["-N", "", "-t", "ed25519", "-f"], &at(key));
        }
        let config = format!("Include {}/*.conf\nHostKey {}\n", at("more").display(), at("own").display());
        std::fs::write(at("sshd_config"), config).expect("written");
        let script = "test ! -e \"$0/broken\" && echo reload >> \"$0/reloads\"".to_owned();
        let words = vec!["/bin/sh".to_owned(), "-c".to_owned(), script, scratch.path().display().to_string()];
        let sshd = Sshd {
            hostname: None,
            principals: Vec::new(),
            address: None,
            labels: BTreeMap::new(),
            accounts: Vec::new(),
            register: true,
            snippet: at("more/10-postern.conf"),
            config: at("sshd_config"),
            program: PathBuf::from(SSHD),
            reload: Hook { action: Action::Exec(words), timeout: Duration::from_secs(30) },
        };
        let output = Output {
            name: "sshd".to_owned(),
            destination: Destination::Directory(Directory::new(at("host"), Symlinks::TrySecure)),
            roles: Vec::new(),
            content: Content::Sshd(Box::new(sshd)),
            certificate_ttl: DAY,
            renewal_interval: DAY,
            on_renew: Vec::new(),
        };
        let stock = Self { scratch, output };
        let key = fresh_key().expect("a key");
        std::fs::write(stock.at("host.pub"), key.public().ssh().to_openssh().expect("a line"))
            .expect("written");
        let authority = stock.at("authority").display().to_string();
        keygen(&["-s", &authority, "-h", "-I", "stock", "-n", "stock", "-V", "+1h"], &stock.at("host.pub"));
        let certificate = std::fs::read_to_string(stock.at("host-cert.pub")).expect("signed");
        let certificate = SshCertificate::from_line(&certificate).expect("a certificate");
        let trust = stock.told("authority").trust.expect("set");
        let issued = Issued { certificate, trust: api::convert::trust(trust).expect("a bundle") };
        stock.server().publish(&key, &issued, &State::default(), Timestamp::now()).expect("written");
        Some(stock)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn server(&self) -> Server<'_> {
        Server::of(&self.output, &Method::Token).expect("a server")
    }

    fn snippet(&self) -> Option<String> {
        std::fs::read_to_string(self.at("more/10-postern.conf")).ok()
    }

    /// As the cluster says it while this authority signs hosts; nothing is locked.
    fn told(&self, host: &str) -> SshServerState {
        let line = |name: &str| {
            let line = std::fs::read_to_string(self.at(&format!("{name}.pub"))).expect("made before");
            line.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
        };
        let of = |kind: &str, name: &str| Authority {
            kind: kind.to_owned(),
            ssh_keys: vec![line(name)],
            tls_certificates: Vec::new(),
        };
        let authorities = vec![of("host", host), of("user", "authority")];
        let trust = api::v1::TrustBundle { cluster: "test".to_owned(), authorities, revision: 1 };
        SshServerState { trust: Some(trust), ..SshServerState::default() }
    }

    fn locked(&self, logins: &[&str]) -> SshServerState {
        let refused_logins = logins.iter().map(ToString::to_string).collect();
        SshServerState { refused_logins, ..self.told("authority") }
    }

    fn apply(&self, told: &SshServerState) -> Result<bool, String> {
        block_on(self.server().apply(told, Timestamp::now())).map_err(|error| error.to_string())
    }

    /// Whether the certificate is still good while this authority signs hosts.
    fn trust(&self, host: &str, now: Timestamp) -> Result<bool, String> {
        let trust = api::convert::trust(self.told(host).trust.expect("set")).expect("a bundle");
        let followed = block_on(self.server().trust(trust, now));
        followed.map(|followed| followed == Followed::Written).map_err(|error| error.to_string())
    }

    fn reloads(&self) -> usize {
        std::fs::read_to_string(self.at("reloads")).map_or(0, |text| text.lines().count())
    }

    fn is_in_force(&self) -> bool {
        self.output.destination.kept(IN_FORCE).expect("readable").is_some()
    }
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    crate::program::runtime().expect("a runtime").block_on(what)
}

#[test]
fn a_login_lock_is_in_force_when_sshd_has_reloaded() {
    let Some(stock) = Stock::certified() else { return };
    let lock = stock.locked(&["deploy"]);
    std::fs::write(stock.at("broken"), "").expect("written");
    for _ in 0..2 {
        let told = stock.apply(&lock).expect_err("sshd has not got it");
        assert!(told.contains("cannot be reloaded"), "{told}");
        assert!(!stock.is_in_force());
    }
    assert!(stock.snippet().expect("written").contains("Match User deploy"), "only the reload is missing");
    std::fs::remove_file(stock.at("broken")).expect("there");
    assert_eq!((stock.apply(&lock), stock.reloads()), (Ok(true), 1));
    assert_eq!((stock.apply(&lock), stock.reloads()), (Ok(false), 1), "it is in force");
    assert_eq!(stock.server().state().expect("readable").version, 1, "one state, however often it was tried");
    let users = SshServerState { refused_key_ids: vec!["bot-x".to_owned()], ..lock };
    assert_eq!((stock.apply(&users), stock.reloads()), (Ok(true), 1), "files are read with each login");
}

/// What a person has to mend is told with the first try.
#[test]
fn a_refusal_by_sshd_says_what_to_do_and_does_not_pass() {
    let Some(stock) = Stock::certified() else { return };
    let (config, host_key) = (stock.at("sshd_config"), stock.at("own").display().to_string());
    let refused = |text: &str| {
        std::fs::write(&config, text).expect("written");
        let refused = block_on(stock.server().apply(&stock.locked(&[]), Timestamp::now()));
        let refused = refused.expect_err("sshd refuses it");
        assert!(!refused.may_pass(), "{refused}");
        refused.to_string()
    };
    let told = refused(&format!("HostKey {host_key}\nBogus yes\n"));
    assert!(told.contains("Bad configuration option: Bogus, ") && !told.contains("; ;"), "{told}");
    let check = format!("; correct that, and check it with `{SSHD} -t -f {}`", config.display());
    assert!(told.ends_with(&check), "{told}");
    let told = refused(&format!("HostKey {host_key}\n"));
    assert!(told.contains("does not include") && told.contains("write `Include "), "{told}");
    std::fs::write(&config, format!("Include {}/*.conf\nHostKey {host_key}\n", stock.at("more").display()))
        .expect("written");
    std::fs::write(stock.at("broken"), "").expect("written");
    let reload = block_on(stock.server().apply(&stock.locked(&[]), Timestamp::now())).expect_err("not told");
    assert!(reload.may_pass(), "{reload}");
}

#[test]
fn nothing_is_in_force_at_a_server_that_was_given_back() {
    let Some(stock) = Stock::certified() else { return };
    stock.apply(&stock.locked(&[])).expect("in force");
    stock.output.destination.keep(UNDONE, b"").expect("kept");
    for _ in 0..2 {
        let told = stock.apply(&stock.locked(&["deploy"])).expect_err("what sshd has is not known");
        assert!(told.contains("tbot sshd --redo"), "{told}");
    }
    assert!(!stock.snippet().expect("still there").contains("deploy"));
    stock.server().installer().redo().expect("removed");
    assert_eq!(stock.apply(&stock.locked(&["deploy"])), Ok(true));
    assert!(stock.snippet().expect("there").contains("Match User deploy"));
}

#[test]
fn a_lock_of_many_certificates_is_applied_and_lifted() {
    let Some(stock) = Stock::certified() else { return };
    let refused_serials: Vec<u64> = (0..100_000).map(|at| u64::MAX - at).collect();
    let many = SshServerState { refused_serials, ..stock.locked(&[]) };
    assert_eq!(stock.apply(&many), Ok(true));
    assert_eq!(stock.server().state().expect("readable").serials.len(), 100_000);
    assert_eq!(stock.apply(&many), Ok(false));
    assert_eq!(stock.apply(&stock.locked(&["deploy"])), Ok(true));
}

#[test]
fn damage_to_what_was_locked_keeps_no_lock_out() {
    let Some(stock) = Stock::certified() else { return };
    let lock = stock.locked(&[]);
    stock.apply(&lock).expect("in force");
    std::fs::write(stock.at("host").join(STATE), "{\"version\":").expect("written");
    assert!(stock.trust("authority", Timestamp::now()).is_err(), "locks are not known");
    assert_eq!(stock.apply(&lock), Ok(true), "the cluster's word is enough");
    assert_eq!(stock.trust("authority", Timestamp::now()), Ok(true));
}

#[test]
fn a_certificate_of_an_authority_that_is_gone_is_not_enough() {
    let Some(stock) = Stock::certified() else { return };
    let now = Timestamp::now();
    assert_eq!(stock.trust("authority", now), Ok(true));
    assert_eq!(stock.trust("later", now), Ok(false), "another authority signs hosts");
    assert_eq!(stock.trust("authority", now + 2 * DAY), Ok(false), "it has ended");
}

#[test]
fn what_cannot_be_taken_away_is_looked_after_further() {
    let Some(stock) = Stock::certified() else { return };
    stock.apply(&stock.locked(&[])).expect("in force");
    let config = std::fs::read_to_string(stock.at("sshd_config")).expect("written");
    std::fs::write(stock.at("sshd_config"), format!("{config}NoSuchKeyword yes\n")).expect("written");
    let server = stock.server();
    let told = block_on(server.installer().undo()).expect_err("sshd refuses it").to_string();
    assert!(told.contains("it was put back"), "{told}");
    assert!(stock.snippet().is_some());
    server.installer().refuse_undone().expect("no mark");
    std::fs::write(stock.at("sshd_config"), config).expect("written");
    assert_eq!(block_on(server.installer().undo()), Ok(true));
    assert!(stock.snippet().is_none() && server.installer().refuse_undone().is_err());
}

#[test]
fn nothing_is_written_after_it_was_given_back() {
    let Some(stock) = Stock::certified() else { return };
    stock.output.destination.keep(UNDONE, b"").expect("kept");
    // Whoever looked for the mark before had not seen it.
    let told =
        block_on(stock.server().installer().install(&BTreeSet::new())).expect_err("given back").to_string();
    assert!(told.contains("tbot sshd --redo"), "{told}");
    assert!(stock.snippet().is_none());
}

#[test]
fn it_is_not_given_back_while_it_is_being_written() {
    let Some(stock) = Stock::certified() else { return };
    stock.apply(&stock.locked(&[])).expect("in force");
    block_on(async {
        let writing = Turn::take(&stock.at("host")).await.expect("nobody else");
        let installer = stock.server().installer();
        let mut undo = std::pin::pin!(installer.undo());
        tokio::select! {
            biased;
            done = &mut undo => panic!("{done:?}"),
            () = std::future::ready(()) => {}
        }
        assert!(stock.snippet().is_some(), "it waits for its turn");
        drop(writing);
        assert_eq!(undo.await, Ok(true));
    });
    assert!(stock.snippet().is_none());
}

#[test]
fn a_fault_of_the_destination_does_not_keep_it_in_place() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(stock) = Stock::certified() else { return };
    stock.apply(&stock.locked(&[])).expect("in force");
    let reloads = stock.reloads();
    let everybodys = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(stock.at("host"), everybodys).expect("ours");
    let told =
        block_on(stock.server().installer().undo()).expect_err("nothing can be kept there").to_string();
    assert!(told.contains("is taken away") && told.contains("stop the agent"), "{told}");
    assert!(stock.snippet().is_none());
    assert_eq!(stock.reloads(), reloads + 1);
}

#[test]
fn names_that_could_not_stand_in_a_list_or_a_line_break_nothing() {
    let Some(stock) = Stock::certified() else { return };
    let odd = ["ro\not", "a b", "*", "!root", "x,root", "\0", "#", "Match all", "\u{1b}[2J"];
    let names = || odd.iter().map(ToString::to_string).chain(["deploy".to_owned()]).collect();
    let told = SshServerState { refused_logins: names(), refused_key_ids: names(), ..stock.locked(&[]) };
    assert_eq!(stock.apply(&told), Ok(true));
    let text = stock.snippet().expect("written");
    assert!(text.ends_with("Match User deploy\n    TrustedUserCAKeys none\n"), "{text}");
    let list = stock.at("host").join(super::REVOKED);
    let read = Command::new("/usr/bin/ssh-keygen").args(["-Q", "-l", "-f"]).arg(list).output();
    let read = read.expect("ssh-keygen runs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert!(String::from_utf8_lossy(&read.stdout).contains("id: deploy"));
    // Why it is locked is for people, and stands in no file that sshd reads.
    let locked = "lock targeting ServerID:\"x\" is in force: \nssh-ed25519 AAAA".to_owned();
    assert_eq!(stock.apply(&SshServerState { locked, ..stock.locked(&[]) }), Ok(true));
    let authorities = std::fs::read_to_string(stock.at("host/ssh_host-user-ca.pub")).expect("written");
    assert!(authorities.lines().all(|line| line.starts_with('#')), "{authorities}");
}

#[test]
fn a_server_knows_when_another_authority_signs_hosts() {
    let Some(stock) = Stock::certified() else { return };
    let said = |signer: &str| {
        let host_signer = match signer {
            "" => String::new(),
            name => std::fs::read_to_string(stock.at(&format!("{name}.pub")))
                .expect("made before")
                .trim()
                .to_owned(),
        };
        stock.server().is_signed_by_another(&SshServerState { host_signer, ..stock.locked(&[]) })
    };
    assert!(!said("authority").expect("readable"));
    assert!(said("later").expect("readable"));
    assert!(!said("").expect("readable"), "an older auth says nothing of it");
}
