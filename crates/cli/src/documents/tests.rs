use super::{Mistakes, Ordered, read, to_yaml};
use serde_json::{Value, json};

const ROLE: &str = "kind: role\nversion: v6\nmetadata:\n  name: example-role\nspec:\n  allow:\n    logins: ['root']\n    \
                    node_labels:\n      '*': '*'\n";

fn names(text: &str) -> Vec<String> {
    let documents = read(text).expect("resources");
    documents.iter().map(|document| document.resource.name().to_owned()).collect()
}

fn role(name: &str) -> String {
    ROLE.replace("example-role", name)
}

fn role_json(name: &str) -> Value {
    json!({"kind": "role", "version": "v7", "metadata": {"name": name}, "spec": {"allow": {"logins": ["x"]}}})
}

#[test]
fn one_or_several_in_yaml_or_json() {
    let (a, b) = (role_json("a"), role_json("b"));
    for (text, expected) in [
        (role("a"), vec!["a"]),
        (format!("---\n{}", role("a")), vec!["a"]),
        (format!("{}---\n{}", role("a"), role("b")), vec!["a", "b"]),
        (format!("# first\n---\n---\n{}---\n# end\n", role("a")), vec!["a"]),
        (format!("\u{feff}{}...\n---\n{}", role("a"), role("b")), vec!["a", "b"]),
        (a.to_string(), vec!["a"]),
        (format!("{a}{b}"), vec!["a", "b"]),
        (format!("{a:#}\n\n{b:#}\n"), vec!["a", "b"]),
        (format!("[{a}, {b}]"), vec!["a", "b"]),
        (format!("{a}\n---\n{b}"), vec!["a", "b"]),
        ("{kind: user, version: v2, metadata: {name: u}, spec: {roles: [r]}}".to_owned(), vec!["u"]),
        (role("a").replace('\n', "\r\n"), vec!["a"]),
    ] {
        assert_eq!(names(&text), expected, "{text}");
    }
}

#[test]
fn nothing_is_said_to_be_nothing() {
    for text in ["", "\n \n", "---\n", "# only a remark\n", "null", "[]"] {
        assert_eq!(read(text), Err(Mistakes::Empty), "{text:?}");
    }
}

#[test]
fn every_mistake_is_told_with_its_document() {
    let wrong = format!(
        "{}---\n{}---\n{}---\nkind: elephant\nversion: v1\nmetadata:\n  name: e\n",
        role("good"),
        role("bad").replace("logins", "logis"),
        "just a text\n",
    );
    let Err(Mistakes::Documents(mistakes)) = read(&wrong) else { panic!("mistakes") };
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    assert!(mistakes[0].starts_with("document 2 (role \"bad\"): spec.allow"), "{mistakes:?}");
    assert!(mistakes[1].starts_with("document 3: "), "{mistakes:?}");
    assert!(mistakes[2].contains("elephant"), "{mistakes:?}");
}

#[test]
fn what_is_neither_is_refused() {
    for text in ["{", "kind: [", "a: b: c", "kind: role\nkind: user\n", "\u{1}\u{2}", "%!x\n"] {
        assert!(read(text).is_err(), "{text:?}");
    }
    assert!(matches!(read("kind: [\n"), Err(Mistakes::Syntax(_))));
}

#[test]
fn a_secret_name_is_not_repeated() {
    let text =
        "kind: token\nversion: v2\nmetadata:\n  name: s3cr3ts3cr3ts3cr3t\nspec:\n  roles: [Elephant]\n";
    let mistakes = read(text).expect_err("a mistake").to_string();
    assert!(mistakes.starts_with("token: spec.roles"), "{mistakes}");
    assert!(!mistakes.contains("s3cr3t"), "{mistakes}");
}

#[test]
fn what_is_written_is_read_back() {
    for text in [
        "yes",
        "0x1f",
        "1e3",
        "~",
        "null",
        "a: b",
        "- x",
        "*",
        "&a",
        "!t",
        "'",
        "\"",
        "\\",
        "a\nb\n",
        " a ",
        "",
        "#",
        "2026-01-01",
        "1:30",
        "a\tb",
        "\u{1b}[2J",
        "\u{202e}",
        "\u{9b}31m",
        "\u{e0041}",
        "{{internal.logins}}",
        "---",
        "...",
        "a #b",
        "%",
        "@x",
        "`",
        "é",
        "|",
        ">-",
        "?",
        "\r\n",
        "\u{2028}",
        "\u{feff}",
        "\u{85}",
    ] {
        let value = json!({"kind": "user", "version": "v2", "metadata": {"name": "u", "description": text},
            "spec": {"roles": ["r"], "traits": {"t": [text, "x"]}}});
        let yaml = to_yaml(&Ordered::of(&value)).expect("YAML");
        assert!(yaml.chars().all(|c| c == '\n' || !crate::escape::is_hidden(c)), "{yaml:?}");
        let back: Vec<Value> = serde_saphyr::from_multiple(&format!("{yaml}---\n{yaml}")).expect("YAML");
        assert_eq!(back, [value.clone(), value], "{yaml}");
    }
}

#[test]
fn a_tab_is_told_with_its_own_line() {
    for (text, line) in [
        ("kind: role\nmetadata:\n\tname: a\n", 3),
        ("kind: role\nmetadata:\n  name: a\n\tlabels: {}\n", 4),
        ("kind: role\n---\nkind: role\nspec:\n  a: b\n\n\tc: d\n", 7),
    ] {
        let expected =
            format!("neither YAML nor JSON: line {line} is indented with a tab; indent with spaces only");
        assert_eq!(read(text), Err(Mistakes::Syntax(expected)), "{text:?}");
    }
    let Err(Mistakes::Syntax(said)) = read("a: [\n") else { panic!("accepted") };
    assert!(!said.contains("indented with a tab"), "{said}");
}

#[test]
fn resources_are_written_as_people_write_them() {
    let value = json!({"kind": "role", "version": "v6", "metadata": {"name": "example-role"},
        "spec": {"allow": {"logins": ["root"], "node_labels": {"*": "*"}}}});
    let yaml = to_yaml(&Ordered::of(&value)).expect("YAML");
    assert_eq!(
        yaml,
        "kind: role\nversion: v6\nmetadata:\n  name: example-role\nspec:\n  allow:\n    logins:\n    - root\n    \
         node_labels:\n      \"*\": \"*\"\n"
    );
}
