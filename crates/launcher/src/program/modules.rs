//! What the host's pluggable authentication modules are told of a session. They run as root, so nothing of it is the node's to
//! say at that moment: names and templates are those of the start, and are filled from a certificate that was verified here.

use std::collections::BTreeMap;

use access::template::Template;
use exec::environment::modules_may_be_told;
use exec::request::is_service;
use identity::UserIdentity;

use super::Fatal;
use crate::protocol::Pam;

pub(super) struct Modules {
    service: String,
    environment: BTreeMap<String, Template>,
}

impl Modules {
    /// Checks what was configured.
    pub(super) fn new(pam: &Pam) -> Result<Self, Fatal> {
        let Pam { service, environment } = pam;
        if !is_service(service) {
            return Err(Fatal::Pam(format!("{service:?} is not the name of a file in /etc/pam.d")));
        }
        let environment = environment.iter().map(|(name, text)| Ok((name.clone(), variable(name, text)?)));
        Ok(Self { service: service.clone(), environment: environment.collect::<Result<_, Fatal>>()? })
    }

    /// What they are told of a session of this user as `login` (fact sheet, section 5.3). A variable whose trait the user does
    /// not have is left out; several values become one with spaces.
    pub(super) fn ask(&self, user: &UserIdentity, login: &str) -> exec::Pam {
        let roles: Vec<&str> = user.roles.iter().map(access::RoleName::as_str).collect();
        let own = [
            ("TELEPORT_USERNAME", user.name.to_string()),
            ("TELEPORT_LOGIN", login.to_owned()),
            ("TELEPORT_ROLES", roles.join(" ")),
        ];
        let configured = self.environment.iter().filter_map(|(name, template)| {
            let value = template.fill(&user.traits).ok()?.join(" ").replace('\0', "");
            // What a trait can be is not known before.
            modules_may_be_told(name, &value).then(|| (name.clone(), value))
        });
        // Of two values the later counts: nobody's configuration replaces who it is.
        let own = own.map(|(name, value)| (name.to_owned(), value));
        exec::Pam { service: self.service.clone(), environment: configured.chain(own).collect() }
    }
}

fn variable(name: &str, text: &str) -> Result<Template, Fatal> {
    if !modules_may_be_told(name, "") {
        let words =
            "loaders, shells or the session itself act on it, and modules run as root; choose another name";
        return Err(Fatal::Pam(format!("environment.{name}: {words}")));
    }
    Template::new(text).map_err(|error| Fatal::Pam(format!("environment.{name}: {error}")))
}

#[cfg(test)]
mod tests {
    use access::{RoleName, Traits, UserName};

    use super::*;

    fn modules(pairs: &[(&str, &str)]) -> Result<Modules, Fatal> {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Modules::new(&Pam { service: "sshd".to_owned(), environment: environment.collect() })
    }

    #[test]
    fn modules_are_told_who_comes_and_what_the_traits_say() {
        let name = UserName::new("alice").expect("a name");
        let roles = ["ops", "web"].map(|role| RoleName::new(role).expect("a name"));
        let mut alice = UserIdentity::person(name, roles.into());
        alice.traits =
            [("team", vec!["blue", "red"]), ("odd", vec!["() { :; }"])].into_iter().collect::<Traits>();
        let told = modules(&[
            ("TEAM", "{{external.team}}"),
            ("NONE", "{{external.none}}"),
            ("ODD", "{{external.odd}}"),
            ("TELEPORT_LOGIN", "x"),
            ("FIX", "1"),
        ]);
        let asked = told.expect("templates").ask(&alice, "root");
        let told: BTreeMap<String, String> = asked.environment.into_iter().collect();
        let expected = [
            ("FIX", "1"),
            ("TEAM", "blue red"),
            ("TELEPORT_LOGIN", "root"),
            ("TELEPORT_ROLES", "ops web"),
            ("TELEPORT_USERNAME", "alice"),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn what_loaders_act_on_is_not_told_even_by_configuration() {
        for name in
            ["LD_PRELOAD", "PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "TMPDIR", "BASH_ENV", "A B"]
        {
            let refused = modules(&[(name, "x")]).err().expect("refused").to_string();
            assert!(refused.contains(name), "{refused}");
        }
        assert!(modules(&[("A", "{{")]).is_err(), "braces");
        assert!(Modules::new(&Pam { service: "../x".to_owned(), environment: BTreeMap::new() }).is_err());
    }
}
