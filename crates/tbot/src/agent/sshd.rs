//! A stock OpenSSH server that the agent looks after: its host certificate, whose users it believes, which of them are locked,
//! its configuration, and what it says of itself to the cluster.
//!
//! The order is what keeps a working server working: files first, which sshd reads with each login; then a configuration that
//! names them, which sshd itself has checked before it is put in place; then, and only when sshd finds all of its configuration
//! good, a reload.

mod fault;
mod program;
mod snippet;
mod turn;

pub use fault::Fault;
pub use program::Installer;

use super::AgentError;
use super::issue::{Given, Wish};
use super::member::{self, Member};
use super::output::Fresh;
use super::refresh::Followed;
use super::ssh_host::{self, Issued, Wanted};
use crate::config::{Content, Method, Output, Sshd};
use crate::destination::{FileSet, refuse_way};
use access::resource::cert_authority::CaKind;
use access::{ClusterName, Login, NodeName};
use api::v1::agent_message::Message;
use api::v1::{NodeReport, SshServerState, UnlistedReport};
use identity::TrustBundle;
use identity::key::SubjectKey;
use identity::openssh::RevocationList;
use identity::ssh::SshCertificate;
use identity::trust::Authority;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::Zeroizing;

/// For `RevokedKeys`.
pub const REVOKED: &str = "revoked-keys";
/// What the files were made from.
const STATE: &str = "sshd-state.json";
/// Of the state and of the list that is made from it: many certificates may be locked.
const LARGEST: u64 = 16 << 20;
/// There while sshd has been told of everything that was made from the state: a crash, a configuration that it refuses and a
/// reload that fails leave it away.
const IN_FORCE: &str = "sshd-in-force";
/// Every file.
pub const NAMES: [&str; 5] =
    [ssh_host::KEY, ssh_host::CERTIFICATE, ssh_host::USER_AUTHORITIES, REVOKED, STATE];

/// What is said of a server to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    certified: bool,
    listed: bool,
    hostname: String,
    addr: String,
    labels: BTreeMap<String, String>,
}

impl Registration {
    /// Of a server; `certified` when it has a certificate to be known by.
    pub fn of(sshd: &Sshd, certified: bool) -> Self {
        let hostname = hostname(sshd);
        let addr = sshd.address.as_ref().map_or_else(|| format!("{hostname}:22"), ToString::to_string);
        Self { certified, listed: sshd.register, hostname, addr, labels: sshd.labels.clone() }
    }

    /// Whether it has a certificate to be known by.
    pub fn is_certified(&self) -> bool {
        self.certified
    }

    /// How it introduces itself: as a node, or, where it is to be in no inventory, as somebody who only hears of locks.
    pub fn report(&self) -> Message {
        match self.listed {
            true => Message::Node(NodeReport {
                hostname: self.hostname.clone(),
                addr: self.addr.clone(),
                labels: self.labels.clone().into_iter().collect(),
                version: "OpenSSH".to_owned(),
                ..NodeReport::default()
            }),
            false => Message::Unlisted(UnlistedReport {}),
        }
    }
}

fn hostname(sshd: &Sshd) -> String {
    let machine = || rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    sshd.hostname.as_ref().map_or_else(machine, NodeName::to_string)
}

/// As nodes are called: by their name, with and without the cluster's, and whatever else was configured.
fn names(sshd: &Sshd, cluster: &ClusterName) -> Vec<String> {
    let hostname = hostname(sshd);
    let mut names = vec![format!("{hostname}.{cluster}"), hostname];
    names.extend(sshd.principals.iter().cloned());
    names
}

/// What the cluster said of locks, as it was written last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Counts the revocation lists.
    version: u64,
    key_ids: BTreeSet<String>,
    serials: BTreeSet<u64>,
    logins: BTreeSet<String>,
    locked: String,
}

impl State {
    fn of(told: &SshServerState, version: u64) -> Self {
        let SshServerState {
            trust: _,
            refused_key_ids,
            refused_serials,
            refused_logins,
            locked,
            revision: _,
            host_signer: _,
        } = told;
        Self {
            version,
            key_ids: refused_key_ids.iter().cloned().collect(),
            serials: refused_serials.iter().copied().collect(),
            logins: refused_logins.iter().cloned().collect(),
            locked: locked.clone(),
        }
    }

    /// Those in whose place sshd can put nobody else.
    fn refused(&self) -> BTreeSet<&str> {
        self.logins
            .iter()
            .map(String::as_str)
            .filter(|login| crate::config::sshd::is_account(login))
            .collect()
    }
}

/// One server and its files.
pub struct Server<'a> {
    /// The service.
    pub output: &'a Output,
    /// What was configured.
    pub sshd: &'a Sshd,
    /// What the agent joined with is nothing to the programs that it starts.
    pub method: &'a Method,
}

impl<'a> Server<'a> {
    /// Of a service of this type.
    pub fn of(output: &'a Output, method: &'a Method) -> Option<Self> {
        match &output.content {
            Content::Sshd(sshd) => Some(Self { output, sshd, method }),
            _ => None,
        }
    }

    /// What it asks the cluster for: another certificate for the same key.
    pub fn wish(&self, member: &Member) -> Result<Wish, AgentError> {
        self.installer().refuse_undone().map_err(AgentError::Sshd)?;
        // Whoever could put other authorities there would be root.
        for path in self.output.destination.path().into_iter().chain([&*self.sshd.snippet]) {
            refuse_way(path)?;
        }
        let key = match self.key()? {
            Some(key) => key,
            None => member::fresh_key()?,
        };
        let principals = names(self.sshd, &member.credentials().trust.cluster);
        let wanted =
            Wanted { principals: &principals, roles: &self.output.roles, ttl: self.output.certificate_ttl };
        Ok(wanted.over(key))
    }

    /// What the cluster gave, in force, and everything that follows from it.
    pub async fn renewed(&self, mut given: Given, now: Timestamp) -> Result<Fresh, AgentError> {
        let (key, issued) = ssh_host::read(&mut given)?;
        let installer = self.installer();
        let state = self.state()?;
        let (expires, trust) = (issued.expires(), issued.trust.revision);
        self.publish(&key, &issued, &state, now)?;
        installer.install(&state.refused()).await.map_err(AgentError::Sshd)?;
        // sshd reads its certificate when it starts, and then no more.
        installer.reload().await.map_err(AgentError::Sshd)?;
        self.output.destination.keep(IN_FORCE, b"")?;
        tracing::info!(service = self.output.name, %expires, "sshd has its certificate");
        Ok(Fresh { expires, trust })
    }

    /// Puts what the cluster says of locks and trust in force; an error while sshd does not know all of it. Gives whether
    /// anything changed.
    pub async fn apply(&self, told: &SshServerState, now: Timestamp) -> Result<bool, AgentError> {
        let Some(trust) = told.trust.clone() else { return Ok(false) };
        let trust =
            api::convert::trust(trust).map_err(AgentError::unusable("the cluster's word on trust"))?;
        // All of it is told anew: what was written before is not needed, and damage to it must keep no lock out.
        let before = self.state().inspect_err(|error| {
            tracing::warn!(service = self.output.name, %error, "what was locked is written anew");
        });
        let before = before.ok();
        let state = State::of(told, before.as_ref().map_or(0, |before| before.version));
        self.rewrite(before, state, trust, now).await
    }

    /// Whether another authority signs hosts by now than the one that signed the certificate: clients will trust that one no
    /// more some day, and this server must have followed by then.
    pub fn is_signed_by_another(&self, told: &SshServerState) -> Result<bool, AgentError> {
        // An auth service that is older than this agent does not say.
        let Some(signer) = Some(told.host_signer.as_str()).filter(|line| !line.is_empty()) else {
            return Ok(false);
        };
        let signer = Authority::from_parts(CaKind::Host, [signer], [])
            .map_err(AgentError::unusable("the cluster's word on who signs hosts"))?;
        let certificate = self.certificate()?;
        Ok(certificate.is_some_and(|certificate| !ssh_host::signed_by(&certificate, &signer)))
    }

    /// Puts another trust bundle in force, with the locks as they are. Stale when the certificate is not one that it covers.
    pub async fn trust(&self, trust: TrustBundle, now: Timestamp) -> Result<Followed, AgentError> {
        let state = self.state()?;
        self.rewrite(Some(state.clone()), state, trust.clone(), now).await?;
        let Some(certificate) = self.certificate()? else { return Ok(Followed::Stale) };
        let issued = Issued { certificate, trust };
        Ok(match issued.is_covered() && issued.expires() > now {
            true => Followed::Written,
            false => Followed::Stale,
        })
    }

    async fn rewrite(
        &self,
        before: Option<State>,
        mut state: State,
        trust: TrustBundle,
        now: Timestamp,
    ) -> Result<bool, AgentError> {
        let Some((key, certificate)) = self.key()?.zip(self.certificate()?) else { return Ok(false) };
        let issued = Issued { certificate, trust };
        let authorities = authorities(&issued.trust, &state);
        let present = self.output.destination.read(ssh_host::USER_AUTHORITIES)?;
        let same = present.is_some_and(|present| *present == authorities.as_bytes())
            && before.as_ref() == Some(&state)
            && self.output.destination.read_within(REVOKED, LARGEST)?.is_some();
        let in_force = self.output.destination.kept(IN_FORCE)?.is_some();
        if same && in_force {
            return Ok(false);
        }
        let installer = self.installer();
        installer.forget(IN_FORCE).map_err(AgentError::Sshd)?;
        if !same {
            state.version = state.version.saturating_add(1);
            self.publish(&key, &issued, &state, now)?;
        }
        installer.refuse_undone().map_err(AgentError::Sshd)?;
        // Files are read with each login; a list of accounts stands in the configuration.
        let changed = installer.install(&state.refused()).await.map_err(AgentError::Sshd)?;
        if changed || !in_force {
            installer.reload().await.map_err(AgentError::Sshd)?;
        }
        self.output.destination.keep(IN_FORCE, b"")?;
        tracing::info!(
            service = self.output.name,
            users = state.key_ids.len(),
            certificates = state.serials.len(),
            accounts = state.logins.len(),
            locked = state.locked,
            "sshd knows whom the cluster trusts and refuses"
        );
        Ok(true)
    }

    fn publish(
        &self,
        key: &SubjectKey,
        issued: &Issued,
        state: &State,
        now: Timestamp,
    ) -> Result<(), AgentError> {
        let mut files: FileSet = ssh_host::files(key, issued)?;
        let mut put = |name: &str, contents: Vec<u8>| {
            files.insert(name.to_owned(), Zeroizing::new(contents));
        };
        put(ssh_host::USER_AUTHORITIES, authorities(&issued.trust, state).into_bytes());
        let list = RevocationList {
            trust: &issued.trust,
            key_ids: &state.key_ids,
            serials: &state.serials,
            version: state.version,
            made_at: now,
        };
        put(REVOKED, list.encode());
        put(STATE, serde_json::to_vec(state).map_err(AgentError::unusable("what is locked"))?);
        Ok(self.output.destination.publish(now, issued.expires(), |_| files)?)
    }

    /// The key that it has: clients may know it by that alone.
    fn key(&self) -> Result<Option<SubjectKey>, AgentError> {
        let Some(pem) = self.output.destination.read(ssh_host::KEY)? else { return Ok(None) };
        let text = std::str::from_utf8(&pem).map_err(AgentError::unusable("the host key"))?;
        SubjectKey::from_pem(text).map(Some).map_err(AgentError::unusable("the host key"))
    }

    fn certificate(&self) -> Result<Option<SshCertificate>, AgentError> {
        let Some(line) = self.output.destination.read(ssh_host::CERTIFICATE)? else { return Ok(None) };
        let line = std::str::from_utf8(&line).map_err(AgentError::unusable("the host certificate"))?;
        SshCertificate::from_line(line).map(Some).map_err(AgentError::unusable("the host certificate"))
    }

    /// What is locked stays locked over a restart of the agent, whether the cluster is there or not.
    fn state(&self) -> Result<State, AgentError> {
        match self.output.destination.read_within(STATE, LARGEST)? {
            Some(text) => serde_json::from_slice(&text).map_err(AgentError::unusable("what is locked")),
            None => Ok(State::default()),
        }
    }

    fn installer(&self) -> Installer<'a> {
        Installer { output: self.output, sshd: self.sshd, method: self.method }
    }
}

/// `TrustedUserCAKeys`: nobody, while the server is locked.
fn authorities(trust: &TrustBundle, state: &State) -> String {
    use identity::openssh::{UserAuthority, trusted_user_authorities};
    match state.locked.is_empty() {
        true => trusted_user_authorities(trust, UserAuthority::User),
        false => {
            "# This server is locked: nobody logs in to it by a certificate of the cluster.\n".to_owned()
        }
    }
}

/// The accounts that may be logged in to, where they are listed.
fn allowed<'a>(accounts: &'a [Login], refused: &BTreeSet<&str>) -> Vec<&'a str> {
    accounts.iter().map(Login::as_str).filter(|account| !refused.contains(account)).collect()
}

#[cfg(test)]
mod tests;
