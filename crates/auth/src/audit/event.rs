//! An event under construction: a kind and its fields, named as log pipelines expect.

use std::fmt::Display;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::bounds::Bounds;
use super::kind::Kind;

/// Something that happened. The log adds time, unique id and cluster when it takes it in.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub(super) kind: Kind,
    fields: Map<String, Value>,
    brief: bool,
}

/// Whether a user is a person or a bot, as the field `user_kind` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserKind {
    /// A person.
    Human,
    /// A machine's agent.
    Bot,
}

/// The fields that only the log sets.
pub(super) const RESERVED: &[&str] =
    &["event", "code", "time", "uid", "cluster_name", "ei", "hash", "truncated"];

impl Event {
    /// An event of this kind.
    pub fn new(kind: Kind) -> Self {
        Self { kind, fields: Map::new(), brief: false }
    }

    /// Sets a field of this kind of event; the names are those of the reference sheet. Never
    /// give it a secret: for a token, use [`masked`].
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// The user or bot that did it, or tried.
    #[must_use]
    pub fn user(self, name: &str, kind: UserKind) -> Self {
        let number = match kind {
            UserKind::Human => 1,
            UserKind::Bot => 2,
        };
        self.with("user", name).with("user_kind", number)
    }

    /// The account on the host.
    #[must_use]
    pub fn login(self, login: &str) -> Self {
        self.with("login", login)
    }

    /// Who acted in the user's name.
    #[must_use]
    pub fn impersonator(self, name: &str) -> Self {
        self.with("impersonator", name)
    }

    /// The host where it happened.
    #[must_use]
    pub fn server(self, id: &str, hostname: &str) -> Self {
        self.with("server_id", id).with("server_hostname", hostname)
    }

    /// The session it belongs to.
    #[must_use]
    pub fn session(self, id: &str) -> Self {
        self.with("sid", id)
    }

    /// Where the caller came from.
    #[must_use]
    pub fn remote(self, addr: SocketAddr) -> Self {
        self.with("addr.remote", addr.to_string())
    }

    /// Where the caller arrived.
    #[must_use]
    pub fn local(self, addr: SocketAddr) -> Self {
        self.with("addr.local", addr.to_string())
    }

    /// The resource it is about.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.with("name", name)
    }

    /// Nothing in it is long, whatever a caller sent.
    #[must_use]
    pub fn brief(self) -> Self {
        Self { brief: true, ..self }
    }

    /// It worked.
    #[must_use]
    pub fn succeeded(self) -> Self {
        self.with("success", true)
    }

    /// It did not work, and why.
    #[must_use]
    pub fn failed(self, error: impl Display) -> Self {
        self.with("success", false).with("error", error.to_string())
    }

    /// The fields as they came from a host, without those that the log sets.
    pub(super) fn from_fields(kind: Kind, mut fields: Map<String, Value>) -> Self {
        fields.retain(|name, _| !RESERVED.contains(&name.as_str()));
        Self { kind, fields, brief: false }
    }

    /// The body that is kept: a JSON object within the bounds, with the common fields.
    pub(super) fn body(self, time: Timestamp, uid: Uuid, cluster: &str) -> String {
        let mut bounds = if self.brief { Bounds::brief() } else { Bounds::new() };
        let mut body = bounds.fields(self.fields);
        if bounds.have_cut() {
            body.insert("truncated".into(), true.into());
        }
        let common: [(&str, String); 5] = [
            ("event", self.kind.event.into()),
            ("code", self.kind.code.into()),
            ("time", time.to_string()),
            ("uid", uid.to_string()),
            ("cluster_name", cluster.into()),
        ];
        body.extend(common.map(|(name, value)| (name.to_owned(), Value::String(value))));
        Value::Object(body).to_string()
    }
}

/// A secret's name as events show it: three quarters are hidden.
pub fn masked(name: &str) -> String {
    let length = name.chars().count();
    let hidden = (length * 3).div_ceil(4);
    name.chars().enumerate().map(|(at, c)| if at < hidden { '*' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::kind;
    use super::*;

    #[test]
    fn a_body_has_the_fields_that_pipelines_expect() {
        let event = Event::new(kind::SESSION_START)
            .user("bot-ci", UserKind::Bot)
            .login("root")
            .impersonator("alice")
            .server("6b1f", "web-1")
            .session("s1")
            .remote(SocketAddr::from(([192, 0, 2, 7], 4022)))
            .local(SocketAddr::from(([192, 0, 2, 1], 3022)))
            .with("size", "80:25")
            .succeeded();
        let body = event.body(Timestamp::UNIX_EPOCH, Uuid::nil(), "example");
        let value: Value = serde_json::from_str(&body).expect("the body is JSON");
        let expected = json!({
            "event": "session.start", "code": "T2000I", "time": "1970-01-01T00:00:00Z",
            "uid": "00000000-0000-0000-0000-000000000000", "cluster_name": "example",
            "user": "bot-ci", "user_kind": 2, "login": "root", "impersonator": "alice",
            "server_id": "6b1f", "server_hostname": "web-1", "sid": "s1",
            "addr.remote": "192.0.2.7:4022", "addr.local": "192.0.2.1:3022", "size": "80:25", "success": true,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_caller_cannot_pass_for_the_log() {
        let event =
            Event::new(kind::EXEC).with("time", "1999").with("event", "user.login").failed("no\nshell");
        let body = event.body(Timestamp::UNIX_EPOCH, Uuid::nil(), "example");
        let value: Value = serde_json::from_str(&body).expect("the body is JSON");
        assert_eq!((&value["event"], &value["time"]), (&json!("exec"), &json!("1970-01-01T00:00:00Z")));
        assert_eq!((&value["success"], &value["error"]), (&json!(false), &json!("no\\nshell")));
    }

    #[test]
    fn what_is_brief_is_short_whatever_was_sent() {
        let long = "x".repeat(100_000);
        let event = Event::new(kind::ACCESS_DENIED).failed(&long);
        let event = (0..1000).fold(event, |event, n| event.with(&format!("field{n}"), long.as_str()));
        let body =
            event.with("list", json!([long, long])).brief().body(Timestamp::UNIX_EPOCH, Uuid::nil(), "c");
        assert!(body.len() < 16 * 1024, "{}", body.len());
    }

    #[test]
    fn masks_leave_a_quarter() {
        let table = [("", ""), ("a", "*"), ("abcd", "***d"), ("0123456789abcdef", "************cdef")];
        for (name, expected) in table {
            assert_eq!(masked(name), expected);
        }
    }
}
