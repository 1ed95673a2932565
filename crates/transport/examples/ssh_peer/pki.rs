//! Real certificates of the product's shape, in files that OpenSSH reads too: each server and client of a measurement
//! shows and verifies the same ones.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use access::{ClusterName, SystemRole};
use aws_lc_rs::rand::SystemRandom;
use ca::{Authorities, Order};
use identity::key::SubjectKey;
use identity::{HostIdentity, Identity, Subject, TrustBundle, UserIdentity};
use jiff::Timestamp;
use ssh_key::PublicKey;

use super::peer::Outcome;

const CLUSTER: &str = "bench.example.com";
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The name in the host's certificate.
pub const HOST: &str = "localhost";

/// What [`create`] made, read again.
pub struct Pki {
    pub trust: TrustBundle,
    pub login: String,
    /// Private key and certificate line; clients have none.
    pub host: Option<(String, String)>,
    /// Private key and certificate line.
    pub user: (String, String),
}

/// Writes `host`, `user`, their certificates beside them, `host_ca.pub`, `user_ca.pub`, `known_hosts` and `login`.
pub fn create(directory: &Path, login: &str) -> Outcome<()> {
    let now = Timestamp::now();
    let authorities = Authorities::generate(&ClusterName::new(CLUSTER)?, now)?;
    let host = HostIdentity {
        id: "11111111-2222-4333-8444-555555555555".parse()?,
        role: SystemRole::Node,
        names: vec![HOST.to_owned()],
    };
    let user = UserIdentity {
        logins: vec![login.parse()?],
        ..UserIdentity::person("bench".parse()?, vec!["access".parse()?])
    };
    certify(directory, "host", &authorities, Subject::Host(host), now)?;
    certify(directory, "user", &authorities, Subject::User(Box::new(user)), now)?;
    let trust = authorities.trust_bundle(1);
    let host_ca = trust.host.ssh_lines().join("\n");
    fs::write(directory.join("known_hosts"), format!("@cert-authority * {host_ca}\n"))?;
    fs::write(directory.join("host_ca.pub"), host_ca)?;
    fs::write(directory.join("user_ca.pub"), trust.user.ssh_lines().join("\n"))?;
    fs::write(directory.join("login"), login)?;
    Ok(())
}

fn certify(
    directory: &Path,
    name: &str,
    authorities: &Authorities,
    subject: Subject,
    now: Timestamp,
) -> Outcome<()> {
    let rng = SystemRandom::new();
    let key = SubjectKey::generate(&rng)?;
    let identity = Identity { cluster: authorities.cluster().clone(), subject };
    let order = Order {
        identity: &identity,
        public_key: key.public(),
        ssh_public_key: None,
        lifetime: LIFETIME,
        extra: &[],
    };
    let issued = authorities.issue(&order, now, &rng)?;
    fs::write(directory.join(format!("{name}-cert.pub")), issued.ssh.line() + "\n")?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(name))?;
    file.write_all(key.to_pem()?.as_bytes())?;
    Ok(())
}

impl Pki {
    /// What a client of somebody else's server needs is enough: `user`, its certificate, `login` and the authorities.
    pub fn read(directory: &Path) -> Outcome<Self> {
        let text = |name: &str| {
            fs::read_to_string(directory.join(name))
                .map_err(|error| format!("{}/{name}: {error}; make it with `pki`", directory.display()))
        };
        let mut trust = TrustBundle::empty(ClusterName::new(CLUSTER)?);
        trust.host.ssh.push(PublicKey::from_openssh(&text("host_ca.pub")?)?);
        trust.user.ssh.push(PublicKey::from_openssh(&text("user_ca.pub")?)?);
        Ok(Self {
            trust,
            login: text("login")?,
            host: text("host").ok().zip(text("host-cert.pub").ok()),
            // What `tctl auth sign` writes is in another form than what the engines read.
            user: (SubjectKey::from_pem(&text("user")?)?.to_pem()?.to_string(), text("user-cert.pub")?),
        })
    }

    /// The host's private key and certificate line.
    pub fn host(&self) -> Outcome<&(String, String)> {
        self.host.as_ref().ok_or_else(|| "a server needs `host` and `host-cert.pub`".into())
    }
}
