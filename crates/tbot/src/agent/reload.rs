//! SIGHUP: the configuration is read again, and what is different is told. One with mistakes is told and not used.

use super::services::Agent;
use crate::config::{self, Config, Output, StartFlags};
use std::path::PathBuf;

/// Where a configuration came from, so that it can be read again.
pub struct Source {
    /// The file; without one, flags said everything.
    pub path: Option<PathBuf>,
    /// The flags that stand above it.
    pub flags: StartFlags,
}

impl Source {
    /// Reads it: the configuration, and what flags replaced in the file.
    pub fn load(&self) -> Result<config::check::Checked, String> {
        let Some(path) = &self.path else {
            return config::without_file(&self.flags);
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            format!("cannot read {}: {error}; tbot configure writes a configuration file", path.display())
        })?;
        config::load(&path.display().to_string(), &text, &self.flags)
    }

    /// Reads it again; everything is renewed, with the new configuration if there is one.
    pub(super) fn reload(&self, agent: &mut Agent) {
        let new = match self.load() {
            Ok((new, _)) => new,
            Err(mistakes) => {
                for mistake in mistakes.lines() {
                    tracing::error!("{mistake}");
                }
                tracing::error!("the configuration is not used; going on with the one before");
                agent.was_configured(Err(&mistakes));
                return agent.hurry();
            }
        };
        agent.was_configured(Ok(()));
        let mut changes = changes(agent.config(), &new);
        if new.storage.to_string() != agent.storage_place() {
            changes.push("storage changed, which takes effect when tbot is restarted".to_owned());
        }
        if changes.is_empty() {
            tracing::info!("the configuration is as it was; renewing everything now");
            return agent.hurry();
        }
        for change in &changes {
            tracing::info!("configuration: {change}");
        }
        agent.reconfigure(new);
    }
}

/// What is different, each in one line. Secrets are not shown.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut told = Vec::new();
    if old.server != new.server {
        told.push(format!("the server is {}, was {}", new.server.address(), old.server.address()));
    }
    if old.onboarding != new.onboarding {
        told.push("onboarding changed; it counts when the agent has to join".to_owned());
    }
    for (key, old, new) in [
        ("certificate_ttl", old.certificate_ttl, new.certificate_ttl),
        ("renewal_interval", old.renewal_interval, new.renewal_interval),
    ] {
        if old != new {
            told.push(format!("{key} is {new:?}, was {old:?}"));
        }
    }
    for (key, changed) in [
        ("diag_addr", old.diag_addr != new.diag_addr),
        ("oneshot", old.oneshot != new.oneshot),
        ("debug", old.debug != new.debug),
    ] {
        if changed {
            told.push(format!("{key} changed, which takes effect when tbot is restarted"));
        }
    }
    outputs(&old.outputs, &new.outputs, &mut told);
    told
}

fn outputs(old: &[Output], new: &[Output], told: &mut Vec<String>) {
    let named = |outputs: &[Output], name: &str| outputs.iter().position(|output| output.name == name);
    for output in old.iter().filter(|output| named(new, &output.name).is_none()) {
        told.push(format!(
            "output {} is gone; its files in {} stay until you remove them, and expire",
            output.name, output.destination
        ));
    }
    for output in new {
        match named(old, &output.name) {
            None => told.push(format!("output {} is new: {}", output.name, output.destination)),
            Some(at) if old[at] != *output => told.push(format!("output {} changed", output.name)),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::changes;
    use crate::config::{Config, StartFlags, load};

    fn config(more: &str) -> Config {
        let text = format!("version: v2\nproxy_server: p:1\nstorage: /s\n{more}");
        load("tbot.yaml", &text, &StartFlags::default()).expect("read").0
    }

    #[test]
    fn what_changed_is_told_without_secrets() {
        let old = config("onboarding: {token: secret-one}\noutputs: [{type: identity, destination: /a}]\n");
        assert!(changes(&old, &old).is_empty());
        let new = config(
            "onboarding: {token: secret-two}\nrenewal_interval: 5m\noutputs:\n- {type: identity, destination: /a, \
             roles: [x]}\n- {type: identity, name: more, destination: /b}\n",
        );
        let told = changes(&old, &new).join("\n");
        for part in [
            "onboarding changed",
            "renewal_interval is 300s, was 1200s",
            "output output-1 changed",
            "more is new",
        ] {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
        assert!(!told.contains("secret"), "{told}");
        let told = changes(&new, &old).join("\n");
        assert!(told.contains("output more is gone; its files in directory /b stay"), "{told}");
    }
}
