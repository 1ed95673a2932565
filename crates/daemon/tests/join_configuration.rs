//! How a host is told that it is configured wrongly, the same with every join method: each mistake is one clear error, those of a
//! file are told all at once, the program ends with 1, and nothing is made.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Each method that hosts have, and a key of its section, where it has one.
const METHODS: [(&str, Option<&str>); 4] = [
    ("token", None),
    ("bound_keypair", Some("registration_secret")),
    ("tpm", Some("device")),
    ("kubernetes", None),
];

/// What stands in a file, each part of which can be wrong.
struct Parts {
    method: &'static str,
    servers: String,
    token: String,
    pin: String,
    more: String,
    beside: String,
}

impl Parts {
    fn new(method: &'static str) -> Self {
        Self {
            method,
            servers: "  auth_server: 127.0.0.1:1\n".to_owned(),
            token: "    token_name: machines\n".to_owned(),
            pin: format!("  ca_pin: sha256:{}\n", "ab".repeat(32)),
            more: String::new(),
            beside: String::new(),
        }
    }

    fn section(&self) -> Option<&'static str> {
        METHODS.iter().find(|(method, _)| *method == self.method).and_then(|(_, key)| *key)
    }

    /// The section of another method, and a key in it.
    fn other(&self) -> (&'static str, &'static str) {
        let other = METHODS.iter().find(|(method, key)| key.is_some() && *method != self.method);
        other.and_then(|(method, key)| Some((*method, (*key)?))).expect("there are several")
    }

    fn text(&self, home: &Path) -> String {
        let Self { method, servers, token, pin, more, beside } = self;
        format!(
            "version: v3\npostern:\n  data_dir: {}\n{servers}{pin}{beside}  join_params:\n    method: {method}\n{token}{more}\
             auth_service: {{enabled: no}}\nproxy_service: {{enabled: no}}\nssh_service: {{enabled: yes, listen_addr: \"127.0.0.1:0\"}}\n",
            home.join("data").display()
        )
    }
}

/// Something wrong, and what is said to it.
type Mistake = (fn(&mut Parts), fn(&Parts) -> Option<String>);

const MISTAKES: [Mistake; 7] = [
    (
        |parts| parts.servers.push_str("  proxy_server: 127.0.0.1:2\n"),
        |_| Some("postern.proxy_server: stands beside auth_server; keep one of them".to_owned()),
    ),
    (
        |parts| parts.beside.push_str("  auth_token: secret\n"),
        |_| Some("postern.auth_token: stands beside join_params; keep one of them".to_owned()),
    ),
    (
        |parts| parts.more.push_str("    token: x\n"),
        |_| Some("postern.join_params.token: unknown key; ".to_owned()),
    ),
    (
        |parts| parts.pin = "  ca_pin: sha256:12\n".to_owned(),
        |_| Some("postern.ca_pin: is not a pin; write sha256: and 64 hexadecimal digits".to_owned()),
    ),
    (
        |parts| parts.token = "    token_name: \"\"\n".to_owned(),
        |_| {
            let told = "postern.join_params.token_name: is empty; create a token with tctl tokens add";
            Some(told.to_owned())
        },
    ),
    (
        |parts| {
            let (section, key) = parts.other();
            parts.more.push_str(&format!("    {section}: {{{key}: x}}\n"));
        },
        |parts| {
            let (section, _) = parts.other();
            Some(format!("postern.join_params.{section}: belongs to method {section}; remove it"))
        },
    ),
    (
        |parts| {
            if parts.section().is_some() {
                parts.more.push_str(&format!("    {}: {{unheard_of: x}}\n", parts.method));
            }
        },
        |parts| {
            let section = parts.method;
            parts.section().map(|_| format!("postern.join_params.{section}.unheard_of: unknown key; "))
        },
    ),
];

/// Mistakes that stand in the place of one of those.
const ALONE: [Mistake; 5] = [
    (
        |parts| parts.servers = String::new(),
        |_| Some("postern.auth_server: missing; auth_service does not run here".to_owned()),
    ),
    (|parts| parts.token = String::new(), |_| Some("postern.join_params.token_name: missing".to_owned())),
    (
        |parts| parts.token = "    token_name: {a: b}\n".to_owned(),
        |_| Some("postern.join_params.token_name: expected text, found a mapping".to_owned()),
    ),
    (
        |parts| {
            if parts.section().is_some() {
                parts.more.push_str(&format!("    {}: 7\n", parts.method));
            }
        },
        |parts| {
            let section = parts.method;
            parts
                .section()
                .map(|_| format!("postern.join_params.{section}: expected a mapping, found a number"))
        },
    ),
    (|parts| parts.pin = "  ca_pin: {a: b}\n".to_owned(), |_| Some("postern.ca_pin: expected ".to_owned())),
];

/// Starts it with this text; its exit code and what it says.
fn start(home: &Path, text: &str) -> (Option<i32>, String) {
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).expect("ours");
    let file = home.join("postern.yaml");
    std::fs::write(&file, text).expect("written");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_postern"));
    let output = daemon.args(["start", "-c"]).arg(&file).output().expect("runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn told_of(method: &'static str, mistakes: &[Mistake]) {
    let home = tempfile::tempdir().expect("a directory");
    let mut parts = Parts::new(method);
    let expected: Vec<String> = mistakes.iter().filter_map(|(_, told)| told(&parts)).collect();
    if expected.is_empty() {
        return;
    }
    mistakes.iter().for_each(|(make, _)| make(&mut parts));
    let (code, told) = start(home.path(), &parts.text(home.path()));
    assert_eq!(code, Some(1), "{method}: {told}");
    let start = format!("{}:", home.path().join("postern.yaml").display());
    for expected in &expected {
        let has = |line: &&str| line.starts_with(&start) && line.contains(expected.as_str());
        assert_eq!(told.lines().filter(has).count(), 1, "{method}: {expected:?} in\n{told}");
    }
    assert_eq!(told.lines().count(), expected.len(), "{method}: {told}");
    assert!(!told.contains("secret") || told.contains("registration_secret"), "{told}");
    assert!(!home.path().join("data").exists(), "{method}: nothing is made");
}

#[test]
fn each_mistake_of_a_file_is_one_error_with_every_join_method() {
    for (method, _) in METHODS {
        for mistake in MISTAKES.iter().chain(&ALONE) {
            told_of(method, std::slice::from_ref(mistake));
        }
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_with_every_join_method() {
    for (method, _) in METHODS {
        told_of(method, &MISTAKES);
    }
}

#[test]
fn a_token_file_that_is_missing_or_empty_says_so_with_every_join_method() {
    for (method, _) in METHODS {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("token");
        let mut parts = Parts::new(method);
        parts.token = format!("    token_name: {}\n", file.display());
        for (content, why) in
            [(None, "No such file"), (Some(""), "it is empty"), (Some(" \n"), "it is empty")]
        {
            if let Some(content) = content {
                std::fs::write(&file, content).expect("written");
            }
            let (code, told) = start(home.path(), &parts.text(home.path()));
            assert_eq!(code, Some(1), "{method}: {told}");
            for part in ["the join token cannot be read", why, "has not joined a cluster and has no token"] {
                assert!(told.contains(part), "{method}: {part:?} is not in\n{told}");
            }
        }
    }
}
