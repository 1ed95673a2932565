//! Who the agent is: the stored identity, the token for the first one, and what the agent said when it last ran.

use super::finding::Finding;
use crate::agent::report::{self, Report};
use crate::config::{Config, TokenSource};
use crate::health::Service;
use identity::credentials::Credentials;
use jiff::Timestamp;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zeroize::Zeroizing;

const NEW_TOKEN: &str = "get a token with `tctl bots instances add <bot>` and set onboarding.token";

/// The stored identity if it is valid, and what was found.
pub(super) fn examine(config: &Config) -> (Option<Credentials>, Vec<Finding>) {
    let now = Timestamp::now();
    let (stored, own) = stored(config, now);
    let mut findings = vec![own];
    findings.extend(token(config.onboarding.token.as_ref(), stored.is_some()));
    findings.extend(agent(config, now));
    (stored, findings)
}

fn stored(config: &Config, now: Timestamp) -> (Option<Credentials>, Finding) {
    let what = "identity";
    let bundle = match config.storage.read("identity") {
        Ok(Some(bundle)) => bundle,
        Ok(None) => return (None, Finding::good(what, "none yet: the agent has to join")),
        Err(error) => return (None, Finding::of(what, &error)),
    };
    let text = std::str::from_utf8(&bundle).map_err(|error| error.to_string());
    match text.and_then(|text| identity::file::decode(text).map_err(|error| error.to_string())) {
        Err(error) => {
            let said = format!("the stored identity cannot be read: {error}");
            (None, Finding::wrong(what, said, NEW_TOKEN))
        }
        Ok(credentials) if credentials.expires() <= now => {
            let said = format!("the stored identity expired at {}", credentials.expires());
            (None, Finding::wrong(what, said, NEW_TOKEN))
        }
        Ok(credentials) => {
            let said =
                format!("of cluster {}, valid until {}", credentials.trust.cluster, credentials.expires());
            (Some(credentials), Finding::good(what, said))
        }
    }
}

fn token(source: Option<&TokenSource>, joined: bool) -> Option<Finding> {
    let what = "token";
    match source {
        None if joined => None,
        None => Some(Finding::wrong(what, "none is configured, and the agent has to join", NEW_TOKEN)),
        Some(TokenSource::Literal(_)) => Some(Finding::good(what, "it is in the configuration")),
        Some(TokenSource::File(path)) => Some(token_file(path, joined)),
    }
}

fn token_file(path: &Path, joined: bool) -> Finding {
    let (what, shown) = ("token", path.display());
    let text = match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => text,
        Err(_) if joined => {
            return Finding::good(what, format!("{shown} is not readable, and not needed now"));
        }
        Err(error) => {
            let fix = "put the token there, readable for the user that runs tbot";
            return Finding::wrong(what, format!("cannot read {shown}: {error}"), fix);
        }
    };
    if text.trim().is_empty() && !joined {
        return Finding::wrong(what, format!("{shown} is empty"), NEW_TOKEN);
    }
    let mode = std::fs::metadata(path).map_or(0, |found| found.permissions().mode());
    match mode & 0o077 {
        0 => Finding::good(what, format!("{shown} is readable for this user alone")),
        _ => Finding::warning(
            what,
            format!("{shown} has mode {:04o}: others can read it", mode & 0o7777),
            format!("chmod 600 {shown}"),
        ),
    }
}

/// What a running agent complains of is worth more than what can be seen from here.
fn agent(config: &Config, now: Timestamp) -> Vec<Finding> {
    let what = "agent";
    let report = Report::read(&config.storage).ok().flatten();
    let running = report::is_running(&config.storage);
    let Some(report) = report else {
        return vec![match running {
            true => Finding::warning(
                what,
                "it runs, and could not write its report",
                "see its log, and whether there is room in its storage",
            ),
            false => Finding::good(what, "it has not run yet"),
        }];
    };
    let mut findings = vec![match running {
        true => Finding::good(what, format!("it runs, pid {}", report.pid)),
        false => {
            let said = format!("it does not run; it was last seen at {}", report.written_at);
            Finding::warning(what, said, "start it: tbot start -c FILE, or tbot install systemd")
        }
    }];
    let complaining = |service: &&Service| service.problem.is_some() || service.hook_problem.is_some();
    findings.extend(
        report
            .services
            .iter()
            .filter(complaining)
            .map(|service| Finding::of(format!("last run, {}", service.name), &service.reason(now))),
    );
    findings
}
