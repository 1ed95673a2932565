//! Events that nodes and proxies send. They are believed about their own sessions and nothing
//! else: only kinds that a host may report, under the host's own id, at the time of arrival.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use store::{Expect, Key, MAX_ACTIONS, MAX_BYTES, NewRecord, StoreError, Txn};

use super::AuditLog;
use super::event::Event;
use super::kind::{self, Origin};

/// How long a report's id is remembered; a host that lost the answer sends it again well
/// before.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);
/// The largest report, in bytes.
const LARGEST: usize = 64 * 1024;
/// The most reports at once.
const MOST: usize = 1000;
/// The longest id.
const LONGEST_ID: usize = 64;

/// An event as a host sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Chosen by the host, the same when it sends the event again.
    pub id: String,
    /// A JSON object with `event`, `code` and the event's fields.
    pub json: String,
}

/// Why reports were not taken. None of the same call was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// More than can be taken at once.
    #[error("{0} events at once are more than {MOST}; send fewer at a time")]
    TooMany(usize),
    /// The id cannot be kept.
    #[error("event id {0:?} is not 1 to {LONGEST_ID} letters, digits or hyphens")]
    BadId(String),
    /// The text is no JSON object of acceptable size.
    #[error("event {id} is not a JSON object of at most {LARGEST} bytes: {reason}")]
    BadJson {
        /// The report.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no such kind, or a host may not report it.
    #[error("event {id}: a host may not report {event:?} with code {code:?}")]
    BadKind {
        /// The report.
        id: String,
        /// The name it gave.
        event: String,
        /// The code it gave.
        code: String,
    },
    /// The store did not keep them.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuditLog {
    /// Keeps what a host reports, in its order; what it reported before is passed over.
    /// `host_id` is the id in the host's certificate. Durable when this returns.
    pub async fn take_reports(&self, host_id: &str, reports: Vec<Report>) -> Result<(), ReportError> {
        if reports.len() > MOST {
            return Err(ReportError::TooMany(reports.len()));
        }
        let mut seen = HashSet::new();
        let mut checked = Vec::new();
        for report in reports {
            let key = id_key(host_id, &report.id)?;
            let event = parse(host_id, &report)?;
            if seen.insert(key.clone()) {
                checked.push((key, self.record(event)));
            }
        }
        while !checked.is_empty() {
            let rest = checked.split_off(fitting(&checked));
            self.keep(checked).await?;
            checked = rest;
        }
        Ok(())
    }

    async fn keep(&self, mut reports: Vec<(Key, NewRecord)>) -> Result<(), StoreError> {
        let until = self.clock.now() + REMEMBERED;
        while !reports.is_empty() {
            let txn = reports.iter().cloned().fold(Txn::new(), |txn, (id, record)| {
                txn.expect(id.clone(), Expect::Absent).put_until(id, "", until).event(record)
            });
            match self.engine.commit(txn).await? {
                Ok(_) => return Ok(()),
                Err(conflict) => reports.retain(|(id, _)| conflict.at(id).is_none()),
            }
        }
        Ok(())
    }
}

/// How many of the reports one transaction can hold: at least one.
fn fitting(reports: &[(Key, NewRecord)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, record): &&(Key, NewRecord)| {
        bytes += record.body.len() + 256;
        bytes <= MAX_BYTES
    };
    reports.iter().take(MAX_ACTIONS / 2).take_while(fits).count().max(1)
}

fn id_key(host_id: &str, id: &str) -> Result<Key, ReportError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(plain) {
        return Err(ReportError::BadId(id.chars().take(LONGEST_ID).collect()));
    }
    Key::new("/audit/reports")
        .and_then(|key| key.child(host_id))
        .and_then(|key| key.child(id))
        .map_err(|_| ReportError::BadId(id.to_owned()))
}

fn parse(host_id: &str, report: &Report) -> Result<Event, ReportError> {
    let id = || report.id.clone();
    let bad = |reason: String| ReportError::BadJson { id: id(), reason };
    if report.json.len() > LARGEST {
        return Err(bad(format!("it has {} bytes", report.json.len())));
    }
    let fields: Map<String, Value> =
        serde_json::from_str(&report.json).map_err(|error| bad(error.to_string()))?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (event, code) = (text("event"), text("code"));
    let kind = match kind::find(&event, &code) {
        Some(kind) if kind.origin == Origin::Host => kind,
        _ => return Err(ReportError::BadKind { id: id(), event, code }),
    };
    let happened = text("time").parse::<Timestamp>();
    let event = Event::from_fields(kind, fields).with("server_id", host_id);
    Ok(match happened {
        Ok(time) => event.with("reported_time", time.to_string()),
        Err(_) => event,
    })
}
