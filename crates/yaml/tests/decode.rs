//! A file with many mistakes gives all of them, each with line, key and what to do.

use schemars::JsonSchema;
use serde::Deserialize;
use yaml::{Reader, Refusals, decode, reference, refuse};

/// A gate and what it does.
#[derive(Deserialize, JsonSchema, Debug, Default, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct File {
    /// Version of the format.
    version: Option<Version>,
    /// Where things are.
    gate: Gate,
    /// What is written for whom.
    outputs: Vec<Output>,
}

#[derive(Deserialize, serde::Serialize, JsonSchema, Debug, PartialEq, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Version {
    V2,
    V3,
}

#[derive(Deserialize, JsonSchema, Debug, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Gate {
    /// Open at all.
    enabled: bool,
    cluster_name: Option<String>,
    /// Port to listen on.
    port: u16,
    /// One address | several.
    public_addr: Option<Strings>,
    labels: std::collections::BTreeMap<String, String>,
    hours: Hours,
    guards: Vec<Guard>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            enabled: false,
            cluster_name: None,
            port: 3025,
            public_addr: None,
            labels: std::collections::BTreeMap::new(),
            hours: Hours(8),
            guards: Vec::new(),
        }
    }
}

#[derive(Deserialize, JsonSchema, Debug, PartialEq)]
#[serde(untagged)]
enum Strings {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, JsonSchema, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Guard {
    name: String,
    watch: Option<Hours>,
}

/// At most a day.
#[derive(Deserialize, JsonSchema, Debug, PartialEq)]
#[serde(try_from = "u8")]
struct Hours(u8);

impl TryFrom<u8> for Hours {
    type Error = String;

    fn try_from(hours: u8) -> Result<Self, String> {
        if hours <= 24 { Ok(Self(hours)) } else { Err("a day has 24 hours".to_owned()) }
    }
}

#[derive(Deserialize, JsonSchema, Debug, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Output {
    /// Credentials of a machine.
    Identity(Identity),
    Note {
        text: String,
    },
}

#[derive(Deserialize, JsonSchema, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Identity {
    path: String,
    #[serde(default)]
    roles: Vec<String>,
}

static REFUSED: Refusals = Refusals::new(&[
    refuse("gate.moat", "has a moat elsewhere; here there is none").unless_off(),
    refuse("outputs.type", "notes on vellum are not written").value("vellum"),
]);

fn mistakes(text: &str) -> String {
    Reader::new("gate.yaml")
        .alias("gate", "door")
        .refusals(&REFUSED)
        .decode::<File>(text)
        .expect_err("has mistakes")
        .to_string()
}

#[test]
fn a_right_file_reads_in_every_spelling() {
    let text = r#"
version: V3
door:
  enabled: "yes"
  cluster_name: 1.10
  port: "0x1F"
  public_addr: [a, 2]
  labels: {env: no, "k8s.io/os": linux}
  guards:
  - name: null-ish
  moat: {enabled: no}
outputs:
- {type: identity, path: /opt/id}
- type: note
  text: ~x
"#;
    let read = Reader::new("f").alias("gate", "door").refusals(&REFUSED).decode::<File>(text).expect("reads");
    assert_eq!(read.line("gate.public_addr[1]"), Some(7));
    assert_eq!(read.line(r#"gate.labels."k8s.io/os""#), Some(8));
    assert_eq!(read.line("gate.hours"), None);
    let file = read.into_value();
    assert_eq!(file.version, Some(Version::V3));
    assert_eq!(file.gate.cluster_name.as_deref(), Some("1.10"));
    assert_eq!((file.gate.port, file.gate.enabled), (31, true));
    assert_eq!(file.gate.public_addr, Some(Strings::Many(vec!["a".to_owned(), "2".to_owned()])));
    assert_eq!(file.gate.labels["env"], "no");
    assert_eq!(file.gate.hours, Hours(8));
    assert_eq!(file.outputs.len(), 2);
}

#[test]
fn every_mistake_is_reported_with_its_line_and_key() {
    let text = r#"version: v4
gate:
  enabled: maybe
  cluster_nam: x
  port: 70000
  public_addr: {a: b}
  labels: {env: [1]}
  hours: 25
  guards:
  - nmae: x
  - {name: a, watch: 30}
  - {watch: 3}
  - {name: b, watch: 99}
  moat: {enabled: yes}
  moat: {}
  outputs: []
  zebra: 1
outputs:
- {type: identiti, path: x}
- {path: x}
- {type: identity, pth: x}
- {type: vellum}
- identity
"#;
    let expected = r#"gate.yaml:1: version: unknown value "v4"; expected one of v2, v3
gate.yaml:3: gate.enabled: expected yes or no, found text
gate.yaml:4: gate.cluster_nam: unknown key; did you mean "cluster_name"?
gate.yaml:5: gate.port: expected a whole number from 0 to 65535; this number is outside
gate.yaml:6: gate.public_addr: expected text or a list, found a mapping
gate.yaml:7: gate.labels.env: expected text, found a list
gate.yaml:8: gate.hours: a day has 24 hours
gate.yaml:10: gate.guards[0].nmae: unknown key; did you mean "name"?
gate.yaml:11: gate.guards[1].watch: a day has 24 hours
gate.yaml:12: gate.guards[2].name: missing; this key is required
gate.yaml:13: gate.guards[3].watch: a day has 24 hours
gate.yaml:14: gate.moat: has a moat elsewhere; here there is none
gate.yaml:15: gate.moat: key is given twice, first in line 14; remove one of them
gate.yaml:16: gate.outputs: unknown key here; it belongs to the top level
gate.yaml:17: gate.zebra: unknown key; known here: cluster_name, enabled, guards, hours, labels, port, public_addr
gate.yaml:19: outputs[0].type: unknown value "identiti"; did you mean "identity"? (expected one of identity, note)
gate.yaml:20: outputs[1].type: missing; expected one of identity, note
gate.yaml:21: outputs[2].pth: unknown key; did you mean "path"?
gate.yaml:22: outputs[3].type: notes on vellum are not written
gate.yaml:23: outputs[4]: expected a mapping, found text"#;
    assert_eq!(mistakes(text), expected);
}

#[test]
fn both_names_of_a_section_are_a_mistake_and_one_is_kept_in_messages() {
    assert_eq!(
        mistakes("gate: {enabled: yes}\ndoor: {port: 1}\n"),
        "gate.yaml:2: door: \"door\" is another name for \"gate\", given in line 1; keep one"
    );
    assert_eq!(mistakes("door:\n  prot: 1\n"), "gate.yaml:2: door.prot: unknown key; did you mean \"port\"?");
}

#[test]
fn what_is_not_yaml_or_not_a_mapping() {
    assert_eq!(mistakes(""), "gate.yaml: file is empty");
    assert_eq!(mistakes("- a\n"), "gate.yaml:1: expected a mapping, found a list");
    assert!(mistakes("a: [\n").starts_with("gate.yaml:"));
}

#[test]
fn a_check_adds_to_the_mistakes_of_the_syntax() {
    let read = |text: &str| {
        Reader::new("f").check(text, |file: File, report| {
            for (nth, guard) in file.gate.guards.iter().enumerate() {
                if guard.name == "nobody" {
                    report.mistake(format!("gate.guards[{nth}].name").as_str(), "is nobody");
                }
            }
            let Some(name) = file.gate.cluster_name else {
                report.mistake("gate.cluster_name", "missing; name the cluster");
                return None;
            };
            report.take("gate.port", if file.gate.port == 0 { Err("port 0 is no port") } else { Ok(name) })
        })
    };
    assert_eq!(read("gate: {cluster_name: a}\n"), Ok("a".to_owned()));
    for (text, says) in [
        ("gate:\n  port: 1\n", "f:1: gate.cluster_name: missing; name the cluster"),
        ("gate:\n  cluster_nam: a\n", "f:2: gate.cluster_nam: unknown key; did you mean \"cluster_name\"?"),
        ("gate:\n  cluster_name: [a]\n", "f:2: gate.cluster_name: expected text, found a list"),
        (
            "gate:\n  cluster_name: a\n  port: 0\n  enabled: 7\n",
            "f:3: gate.port: port 0 is no port\nf:4: gate.enabled: expected yes or no, found a number",
        ),
        (
            "gate:\n  cluster_name: a\n  guards:\n  - name: [1]\n  - name: nobody\n",
            "f:4: gate.guards[0].name: expected text, found a list\nf:5: gate.guards[1].name: is nobody",
        ),
    ] {
        assert_eq!(read(text).expect_err(text).to_string(), says);
    }
}

#[test]
fn messages_do_not_repeat_values() {
    let said = mistakes("gate:\n  port: hunter2\n  labels: hunter2\n  enabled: [hunter2]\n");
    assert!(!said.contains("hunter2"), "{said}");
    let read = decode::<File>("f", "gate: {cluster_name: hunter2}").expect("reads");
    assert!(!format!("{read:?}").contains("hunter2"));
}

#[test]
fn the_reference_names_every_key_with_type_default_and_meaning() {
    let text = reference::<File>();
    for line in [
        "## Top level",
        "A gate and what it does.",
        "## `gate`",
        "| `port` | whole number | `3025` | Port to listen on. |",
        "| `public_addr` | text, or list of text |  | One address \\| several. |",
        "| `labels` | mapping of names to text |  |  |",
        "## `gate.guards[]`",
        "| `name` | text | required |  |",
        "## `outputs[]` with `type: identity`",
        "Credentials of a machine.",
        "## `outputs[]` with `type: note`",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
    }
}

proptest::proptest! {
    #[test]
    fn reading_is_total(text in "[a-z:\\-\\[\\]{}&*!|>'\"#,? \n\t]{0,200}") {
        let _ = decode::<File>("f", &text);
    }
}
