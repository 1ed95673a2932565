//! The audit log over a real store: what is kept, what is believed, what is found again.

use std::sync::Arc;

use auth::audit::{AuditLog, Event, Report, ReportError, UserKind, kind};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{
    Engine, EventFilter, Expect, Key, ManualClock, Seq, SqliteOptions, SqliteStore, Txn, Verification,
};
use tempfile::TempDir;

struct Setup {
    _directory: TempDir,
    clock: Arc<ManualClock>,
    engine: Arc<dyn Engine>,
    log: AuditLog,
}

fn setup() -> Setup {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(ManualClock::new(Timestamp::from_second(1_700_000_000).expect("a valid time")));
    let options = SqliteOptions { clock: clock.clone(), ..SqliteOptions::default() };
    let engine = SqliteStore::open(directory.path().join("store.db"), options).expect("a new store");
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let log = AuditLog::new(engine.clone(), clock.clone(), "example");
    Setup { _directory: directory, clock, engine, log }
}

async fn all(log: &AuditLog) -> Vec<Value> {
    let events = log.search(EventFilter::default()).await.expect("the store works");
    events.iter().map(|event| serde_json::from_str(&event.json).expect("events are JSON")).collect()
}

fn report(id: &str, fields: Value) -> Report {
    Report { id: id.into(), json: fields.to_string() }
}

fn exec(command: &str) -> Value {
    json!({"event": "exec", "code": "T3002I", "command": command})
}

#[tokio::test]
async fn events_are_kept_found_and_chained() {
    let Setup { log, clock, _directory, .. } = setup();
    let event = Event::new(kind::BOT_CREATE).user("alice", UserKind::Human).name("ci").succeeded();
    assert_eq!(log.emit(event).await, Ok(Seq::new(1)));
    clock.advance(SignedDuration::from_secs(60));
    let denied = Event::new(kind::ACCESS_DENIED).user("bot-ci", UserKind::Bot).failed("no rule allows it");
    assert_eq!(log.emit(denied).await, Ok(Seq::new(2)));

    let events = log.search(EventFilter::default()).await.expect("the store works");
    let first: Value = serde_json::from_str(&events[0].json).expect("events are JSON");
    assert_eq!(
        (&first["event"], &first["code"], &first["ei"]),
        (&json!("bot.create"), &json!("TB001I"), &json!(1))
    );
    assert_eq!((&first["time"], &first["cluster_name"]), (&json!("2023-11-14T22:13:20Z"), &json!("example")));
    assert_eq!(first["hash"], json!(events[0].hash.to_string()));
    let named = EventFilter { names: vec!["access.denied".into()], ..EventFilter::default() };
    assert_eq!(log.search(named).await, Ok(events[1..].to_vec()));

    let head = log.head().await.expect("the store works");
    assert_eq!((head.seq, head.hash), (Seq::new(2), events[1].hash));
    assert_eq!(log.verify().await, Ok(Verification::Intact(head)));
}

#[tokio::test]
async fn an_event_stands_and_falls_with_its_change() {
    let Setup { log, engine, _directory, .. } = setup();
    let key = Key::new("/roles/access").expect("a valid key");
    for _ in 0..2 {
        let event = Event::new(kind::ROLE_CREATED).name("access");
        let txn =
            Txn::new().expect(key.clone(), Expect::Absent).put(key.clone(), "{}").event(log.record(event));
        drop(engine.commit(txn).await.expect("the store works"));
    }
    assert_eq!(all(&log).await.len(), 1);
}

#[tokio::test]
async fn a_tail_starts_now_or_where_it_is_told() {
    let Setup { log, _directory, .. } = setup();
    for n in 0..3 {
        log.emit(Event::new(kind::CERT_CREATE).with("n", n)).await.expect("the store works");
    }
    let mut now = log.tail(None).await.expect("a tail");
    let mut early = log.tail(Some(Seq::new(1))).await.expect("a tail");
    let seq = log.emit(Event::new(kind::CERT_CREATE)).await.expect("the store works");
    assert_eq!(now.next().await.expect("the tail works").seq, seq);
    for n in 2..=4 {
        assert_eq!(early.next().await.expect("the tail works").seq, Seq::new(n));
    }
}

#[tokio::test]
async fn hosts_are_believed_about_their_sessions_only() {
    let Setup { log, _directory, .. } = setup();
    let lies = json!({
        "event": "session.start", "code": "T2000I", "sid": "s1", "user": "alice",
        "server_id": "another", "cluster_name": "another", "uid": "1", "ei": 99, "hash": "00",
        "time": "2023-11-14T20:00:00Z", "truncated": false,
    });
    log.take_reports("node-1", vec![report("a", lies)]).await.expect("it is taken");
    let events = all(&log).await;
    let expected = json!({
        "event": "session.start", "code": "T2000I", "sid": "s1", "user": "alice", "server_id": "node-1",
        "cluster_name": "example", "time": "2023-11-14T22:13:20Z", "reported_time": "2023-11-14T20:00:00Z",
        "ei": 1, "uid": events[0]["uid"], "hash": events[0]["hash"],
    });
    assert_eq!(events, [expected]);
    assert_ne!(events[0]["uid"], "1");

    for (event, code) in [("user.create", "T1002I"), ("bot.join", "TJ001I"), ("exec", "T2000I"), ("", "")] {
        let forged = vec![report("good", exec("true")), report("bad", json!({"event": event, "code": code}))];
        let result = log.take_reports("node-1", forged).await;
        assert!(matches!(result, Err(ReportError::BadKind { .. })), "{event} {code}: {result:?}");
    }
    assert_eq!(all(&log).await.len(), 1, "a bad report takes its whole call with it");
}

#[tokio::test]
async fn a_report_sent_again_is_kept_once_and_in_order() {
    let Setup { log, _directory, .. } = setup();
    let reports: Vec<Report> =
        (0..200).map(|n| report(&format!("r-{n}"), exec(&format!("step {n}")))).collect();
    // Answers got lost at several places, and the host starts over each time.
    for upto in [1, 50, 130, 200] {
        log.take_reports("node-1", reports[..upto].to_vec()).await.expect("they are taken");
    }
    log.take_reports("node-1", vec![reports[7].clone(), reports[7].clone()]).await.expect("it is taken");
    let commands: Vec<Value> = all(&log).await.into_iter().map(|event| event["command"].clone()).collect();
    let expected: Vec<Value> = (0..200).map(|n| json!(format!("step {n}"))).collect();
    assert_eq!(commands, expected);
    // Another host's ids are its own.
    log.take_reports("node-2", reports[..1].to_vec()).await.expect("it is taken");
    assert_eq!(all(&log).await.len(), 201);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let Setup { log, _directory, .. } = setup();
    let json = exec("true").to_string();
    for id in ["", "a/b", "a b", "..", &"x".repeat(65), "é"] {
        let result = log.take_reports("node-1", vec![Report { id: id.into(), json: json.clone() }]).await;
        assert!(matches!(result, Err(ReportError::BadId(_))), "{id:?}: {result:?}");
    }
    let deep =
        format!("{{\"event\":\"exec\",\"code\":\"T3002I\",\"x\":{}{}}}", "[".repeat(500), "]".repeat(500));
    for json in ["", "[]", "{", "null", &deep, &exec(&"x".repeat(70_000)).to_string()] {
        let result = log.take_reports("node-1", vec![Report { id: "a".into(), json: json.into() }]).await;
        assert!(matches!(result, Err(ReportError::BadJson { .. })), "{result:?}");
    }
    let many = (0..1001).map(|n| report(&n.to_string(), exec("true"))).collect();
    assert_eq!(log.take_reports("node-1", many).await, Err(ReportError::TooMany(1001)));
    assert_eq!(all(&log).await.len(), 0);
}

#[tokio::test]
async fn large_reports_are_spread_over_transactions() {
    let Setup { log, _directory, .. } = setup();
    let large = |n: usize| {
        let fields: serde_json::Map<String, Value> =
            (0..14).map(|field| (format!("f{field}"), json!("x".repeat(4000)))).collect();
        let mut fields = Value::Object(fields);
        fields["event"] = json!("exec");
        fields["code"] = json!("T3002I");
        report(&format!("large-{n}"), fields)
    };
    log.take_reports("node-1", (0..60).map(large).collect()).await.expect("they are taken");
    let mut filter = EventFilter::default();
    let mut count = 0;
    loop {
        let events = log.search(filter.clone()).await.expect("the store works");
        let Some(last) = events.last() else { break };
        filter.after = Some(last.seq);
        count += events.len();
        assert!(events.iter().all(|event| event.json.contains("\"truncated\":true")));
    }
    assert_eq!(count, 60);
}

#[tokio::test]
async fn nothing_in_an_event_steers_a_terminal() {
    let Setup { log, _directory, .. } = setup();
    let nasty = exec("\u{1b}]52;c;ZXZpbA==\u{7}\r\n\u{202e}");
    log.take_reports("node-1", vec![report("a", nasty)]).await.expect("it is taken");
    let events = all(&log).await;
    let command = events[0]["command"].as_str().expect("a text");
    assert!(command.is_ascii() && !command.contains(|c: char| c.is_control()), "{command:?}");
}
