//! Who calls: the identity file, read and checked before anything is dialled.

use super::Global;
use super::target::{self, Target};
use crate::Failure;
use crate::connection::{in_force, read_identity};
use access::{ClusterName, Login};
use identity::Credentials;
use identity::meaning::Subject;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use transport::{LiveCredentials, ServerTrust};

/// An identity that can be used now.
pub struct Caller {
    /// Key, certificates and trust.
    pub credentials: Credentials,
    /// The same for connections.
    pub live: LiveCredentials,
    /// Where they came from.
    pub file: PathBuf,
}

impl Caller {
    /// Reads the identity of `-i` and refuses one that is not valid now.
    pub fn load(global: &Global, now: Timestamp) -> Result<Self, Failure> {
        let (file, credentials) = read(global)?;
        in_force(&file, &credentials, now)?;
        let live = LiveCredentials::new(credentials.clone())
            .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
        Ok(Self { credentials, live, file })
    }

    /// The cluster whose authorities the identity knows.
    pub fn cluster(&self) -> &ClusterName {
        &self.credentials.trust.cluster
    }

    /// Which proxies are trusted: the cluster's own, and those with a web certificate that the system trusts.
    pub fn proxy_trust(&self) -> ServerTrust {
        ServerTrust::cluster(Arc::new(self.credentials.trust.clone())).or(ServerTrust::system())
    }

    /// The login for `target`: named there, or by `-l`, or else the only sensible one.
    pub fn login(&self, global: &Global, target: &Target) -> Result<Login, Failure> {
        if let Some(login) = &target.login {
            return Ok(login.clone());
        }
        if let Some(login) = &global.login {
            return target::login(login);
        }
        let allowed = logins(&self.credentials);
        let here = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).ok();
        default_login(allowed, here.as_deref()).ok_or_else(|| {
            let names: Vec<&str> = allowed.iter().map(Login::as_str).collect();
            Failure::new(format!("no login is given for {}", target.host))
                .hint(format!("give -l LOGIN; this identity has: {}", names.join(", ")))
        })
    }

    /// `bot/NAME` or `user/NAME`, as `tctl explain` wants it.
    pub fn subject(&self) -> String {
        match &self.credentials.identity().subject {
            Subject::User(user) => match &user.bot {
                Some(bot) => format!("bot/{}", bot.name),
                None => format!("user/{}", user.name),
            },
            Subject::Host(host) => format!("host {}", host.id),
        }
    }
}

/// The name of the user here, when the identity has it; otherwise the identity's only login.
fn default_login(allowed: &[Login], here: Option<&str>) -> Option<Login> {
    let same = here.and_then(|here| allowed.iter().find(|login| login.as_str() == here));
    match (same, allowed) {
        (Some(login), _) | (None, [login]) => Some(login.clone()),
        (None, _) => None,
    }
}

/// The logins in an identity.
pub fn logins(credentials: &Credentials) -> &[Login] {
    credentials.identity().user().map_or(&[], |user| &user.logins)
}

/// Reads the identity of `-i`, whether or not it is valid now.
pub fn read(global: &Global) -> Result<(PathBuf, Credentials), Failure> {
    let file = global.identity.clone().filter(|file| !file.as_os_str().is_empty()).ok_or_else(|| {
        Failure::new("no identity is given").hint(
            "give -i FILE, for example the file `identity` in tbot's output, or set TELEPORT_IDENTITY_FILE",
        )
    })?;
    let credentials = read_identity(&file)?;
    Ok((file, credentials))
}

#[cfg(test)]
mod tests {
    use super::{Caller, default_login};
    use crate::tsh::Global;
    use access::Login;

    fn login(name: &str) -> Login {
        Login::new(name).expect("a login")
    }

    #[test]
    fn the_login_that_nobody_named() {
        let (root, alice) = (login("root"), login("alice"));
        for (allowed, here, chosen) in [
            (vec![root.clone()], None, Some(&root)),
            (vec![root.clone()], Some("alice"), Some(&root)),
            (vec![root.clone(), alice.clone()], Some("alice"), Some(&alice)),
            (vec![root.clone(), alice.clone()], Some("bob"), None),
            (vec![], Some("root"), None),
        ] {
            assert_eq!(default_login(&allowed, here).as_ref(), chosen, "{allowed:?} {here:?}");
        }
    }

    #[test]
    fn files_that_are_no_identity_are_named() {
        let scratch = tempfile::tempdir().expect("a directory");
        let foreign = scratch.path().join("foreign");
        std::fs::write(&foreign, "not an identity\n").expect("written");
        let missing = scratch.path().join("missing");
        for (file, said) in [
            (None, "no identity is given"),
            (Some(missing), "missing: "),
            (Some(foreign), "foreign: "),
            (Some(scratch.path().to_owned()), "it is a directory"),
        ] {
            let global = Global { identity: file, ..Global::default() };
            let failure = Caller::load(&global, jiff::Timestamp::now()).err().expect("refused");
            assert!(failure.reason.contains(said), "{failure}");
            assert!(!failure.hint.is_empty(), "{failure}");
        }
    }
}
