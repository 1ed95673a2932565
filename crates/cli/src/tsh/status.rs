//! `tsh status`: who the identity is, and until when.

use super::{Global, caller};
use crate::Failure;
use crate::console::{Console, Format};
use clap::Args;
use identity::Credentials;
use jiff::Timestamp;
use serde::Serialize;
use std::process::ExitCode;

/// Options of `tsh status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// What is shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Status {
    username: String,
    cluster: String,
    roles: Vec<String>,
    logins: Vec<String>,
    extensions: Vec<&'static str>,
    valid_until: Timestamp,
    expired: bool,
}

/// Shows the identity; fails when it has expired.
pub fn run(global: &Global, arguments: StatusArguments) -> Result<ExitCode, Failure> {
    let (file, credentials) = caller::read(global)?;
    let now = Timestamp::now();
    let status = Status::of(&credentials, now);
    Console::of_process().show(arguments.format, &status, |status, console| console.say(status.text(now)))?;
    crate::connection::in_force(&file, &credentials, now)?;
    Ok(ExitCode::SUCCESS)
}

impl Status {
    fn of(credentials: &Credentials, now: Timestamp) -> Self {
        let identity = credentials.identity();
        let user = identity.user();
        let permits = user.map(|user| user.permits).unwrap_or_default();
        let extensions = [
            (permits.agent_forwarding, "permit-agent-forwarding"),
            (permits.port_forwarding, "permit-port-forwarding"),
            (permits.pty, "permit-pty"),
            (permits.x11_forwarding, "permit-X11-forwarding"),
        ];
        Self {
            username: user.map_or_else(|| identity.uri(), |user| user.name.to_string()),
            cluster: identity.cluster.to_string(),
            roles: user.map(|user| user.roles.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            logins: caller::logins(credentials).iter().map(ToString::to_string).collect(),
            extensions: extensions.into_iter().filter_map(|(has, name)| has.then_some(name)).collect(),
            valid_until: credentials.expires(),
            expired: credentials.expires() <= now,
        }
    }

    fn text(&self, now: Timestamp) -> String {
        let until = match self.expired {
            true => format!("{} [EXPIRED]", self.valid_until),
            false => format!(
                "{} [valid for {}]",
                self.valid_until,
                span(self.valid_until.duration_since(now).as_secs())
            ),
        };
        let lines = [
            ("Logged in as:", self.username.as_str()),
            ("Cluster:", &self.cluster),
            ("Roles:", &self.roles.join(", ")),
            ("Logins:", &self.logins.join(", ")),
            ("Valid until:", &until),
            ("Extensions:", &self.extensions.join(", ")),
        ];
        lines.map(|(name, value)| format!("  {name:<20}{value}\n")).concat()
    }
}

/// `12h0m0s`.
fn span(seconds: i64) -> String {
    format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::{Status, span};

    #[test]
    fn the_text_says_until_when() {
        let at = |text: &str| text.parse().expect("a time");
        let status = |expired| Status {
            username: "bot-example".into(),
            cluster: "example.com".into(),
            roles: vec!["a".into(), "b".into()],
            logins: vec!["root".into()],
            extensions: vec!["permit-pty"],
            valid_until: at("2026-11-22T12:00:00Z"),
            expired,
        };
        let text = status(false).text(at("2026-11-22T11:00:00Z"));
        assert!(text.contains("  Roles:              a, b\n"), "{text}");
        assert!(text.contains("  Valid until:        2026-11-22T12:00:00Z [valid for 1h0m0s]\n"), "{text}");
        assert!(status(true).text(at("2026-11-22T13:00:00Z")).contains("[EXPIRED]"));
        assert_eq!(span(45_296), "12h34m56s");
    }
}
