//! The events that a node reports, by the names and codes that log pipelines know.

use std::net::SocketAddr;

use exec::sftp::record::Action;
use serde_json::{Map, Value, json};
use transport::ssh::Negotiated;

/// One event under construction.
#[derive(Debug, Clone)]
pub(crate) struct Event(Map<String, Value>);

/// A name with its code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind(&'static str, &'static str);

pub(crate) const AUTH_FAILED: Kind = Kind("auth", "T3007W");
pub(crate) const SESSION_REJECTED: Kind = Kind("session.rejected", "T1006W");
pub(crate) const SESSION_START: Kind = Kind("session.start", "T2000I");
pub(crate) const SESSION_END: Kind = Kind("session.end", "T2004I");
pub(crate) const SESSION_DATA: Kind = Kind("session.data", "T2006I");
pub(crate) const SUBSYSTEM: Kind = Kind("subsystem", "T3001I");
pub(crate) const SUBSYSTEM_FAILED: Kind = Kind("subsystem", "T3001E");
pub(crate) const EXEC: Kind = Kind("exec", "T3002I");
pub(crate) const EXEC_FAILED: Kind = Kind("exec", "T3002E");
pub(crate) const PORT: Kind = Kind("port", "T3003I");
pub(crate) const PORT_FAILED: Kind = Kind("port", "T3003E");
pub(crate) const PORT_STOP: Kind = Kind("port", "T3003S");
pub(crate) const AGENT: Kind = Kind("agent-forward", "PA010I");
pub(crate) const AGENT_FAILED: Kind = Kind("agent-forward", "PA010W");
pub(crate) const X11: Kind = Kind("x11-forward", "T3008I");
pub(crate) const X11_FAILED: Kind = Kind("x11-forward", "T3008W");
pub(crate) const CLIENT_DISCONNECT: Kind = Kind("client.disconnect", "T3006I");
pub(crate) const SCP_DISALLOWED: Kind = Kind("scp", "T3010E");
pub(crate) const SFTP_DISALLOWED: Kind = Kind("sftp", "TS020E");
pub(crate) const SFTP_SUMMARY: Kind = Kind("sftp_summary", "TS021I");

/// An operation on files, or a failed one.
pub(crate) fn sftp(action: Action, failed: bool) -> Kind {
    let (done, not_done) = match action {
        Action::OpenToRead | Action::OpenToWrite => ("TS001I", "TS001E"),
        Action::Setstat | Action::Fsetstat => ("TS007I", "TS007E"),
        Action::Opendir => ("TS009I", "TS009E"),
        Action::Readdir => ("TS010I", "TS010E"),
        Action::Remove => ("TS011I", "TS011E"),
        Action::Mkdir => ("TS012I", "TS012E"),
        Action::Rmdir => ("TS013I", "TS013E"),
        Action::Rename => ("TS016I", "TS016E"),
        Action::Symlink => ("TS018I", "TS018E"),
        Action::Link => ("TS019I", "TS019E"),
    };
    Kind("sftp", if failed { not_done } else { done })
}

impl Event {
    pub(crate) fn new(Kind(event, code): Kind) -> Self {
        let mut fields = Map::new();
        fields.insert("event".to_owned(), event.into());
        fields.insert("code".to_owned(), code.into());
        Self(fields)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn between(self, remote: SocketAddr, local: SocketAddr) -> Self {
        self.with("addr.remote", remote.to_string())
            .with("addr.local", local.to_string())
            .with("proto", "ssh")
    }

    /// What protects the connection.
    pub(crate) fn over(self, negotiated: Negotiated) -> Self {
        self.with("key_exchange", negotiated.key_exchange.name())
            .with("cipher", negotiated.cipher.name())
            .with("post_quantum", negotiated.is_post_quantum())
    }

    pub(crate) fn succeeded(self) -> Self {
        self.with("success", true)
    }

    /// With the stable code of a denial beside its words.
    pub(crate) fn denied(self, code: &str, reason: &str, rule: Option<&str>) -> Self {
        let event = self.with("success", false).with("error", reason).with("denial", code);
        match rule {
            Some(rule) => event.with("rule", rule),
            None => event,
        }
    }

    pub(crate) fn labels(self, labels: &access::Labels) -> Self {
        self.with("server_labels", json!(labels))
    }

    pub(crate) fn fields(self) -> Map<String, Value> {
        self.0
    }
}
