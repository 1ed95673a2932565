//! create, get, edit, rm.

use crate::Cluster;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

const ROLES: &str = "kind: role\nversion: v6\nmetadata:\n  name: a\nspec:\n  allow:\n    logins: ['root']\n    node_labels:\n      \
                     '*': '*'\n---\nkind: role\nversion: v7\nmetadata:\n  name: b\n  description: \"yes: no #x\"\nspec:\n  allow:\n    \
                     logins: ['{{internal.logins}}']\n";

#[test]
fn created_updated_removed() {
    let cluster = Cluster::start();
    let file = cluster.file("roles.yaml");
    std::fs::write(&file, ROLES).expect("written");
    let file = file.to_str().expect("UTF-8");
    let created = "role \"a\" has been created\nrole \"b\" has been created\n";
    assert_eq!(cluster.tctl(&["create", "-f", file]).ok(), created);
    let updated = "role \"a\" has been updated\nrole \"b\" has been updated\n";
    assert_eq!(cluster.tctl(&["create", file, "--force"]).ok(), updated);
    assert_eq!(cluster.tctl_with(&["create", "-f"], ROLES).ok(), updated);
    assert_eq!(cluster.tctl_with(&["create", "-f", "-"], ROLES).ok(), updated);
    let refusal = cluster.tctl(&["create", file]).refused();
    assert!(
        refusal.contains("ERROR: document 1 of 2") && refusal.contains("role \"a\" already exists"),
        "{refusal}"
    );
    assert!(refusal.contains("use -f or --force flag to overwrite"), "{refusal}");
    assert_eq!(
        cluster.tctl(&["rm", "role/a,role/b"]).ok(),
        "role \"a\" has been deleted\nrole \"b\" has been deleted\n"
    );
    let refusal = cluster.tctl(&["rm", "role/a"]).refused();
    assert!(refusal.starts_with("ERROR: role \"a\" not found\n  create it"), "{refusal}");
}

#[test]
fn nothing_is_applied_while_anything_is_wrong() {
    let cluster = Cluster::start();
    let wrong = format!("{ROLES}---\nkind: role\nversion: v9\nmetadata:\n  name: c\n---\nkind: elephant\n");
    let refusal = cluster.tctl_with(&["create", "-f"], &wrong).refused();
    assert!(
        refusal.contains("document 3 (role \"c\")") && refusal.contains("document 4 (elephant)"),
        "{refusal}"
    );
    assert!(refusal.contains("nothing was changed"), "{refusal}");
    assert_eq!(cluster.tctl(&["get", "roles", "--format=json"]).ok(), "[]\n");
    for (text, reason) in [
        ("", "no resources found, empty input?"),
        ("kind: [", "neither YAML nor JSON"),
        (
            "kind: node\nversion: v2\nmetadata:\n  name: 11111111-1111-4111-8111-111111111111\nspec: {hostname: x, addr: 'x:1'}\n",
            "creating resources of type \"node\" is not supported",
        ),
    ] {
        let refusal = cluster.tctl_with(&["create"], text).refused();
        assert!(refusal.contains(reason), "{refusal}");
    }
    let refusal = cluster.tctl(&["create", "-f", "/nonexistent.yaml"]).refused();
    assert!(refusal.starts_with("ERROR: cannot read /nonexistent.yaml: "), "{refusal}");
}

#[test]
fn what_get_prints_create_reads() {
    let cluster = Cluster::start();
    cluster.tctl_with(&["create"], ROLES).ok();
    for format in ["yaml", "json"] {
        let format = format!("--format={format}");
        let before = cluster.tctl(&["get", "roles", &format]).ok();
        cluster.tctl_with(&["create", "-f"], &before).ok();
        cluster.tctl(&["rm", "role/a", "role/b"]).ok();
        cluster.tctl_with(&["create"], &before).ok();
        let strip = |text: &str| {
            text.lines().filter(|line| !line.contains("revision")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(strip(&cluster.tctl(&["get", "roles", &format]).ok()), strip(&before));
    }
    let text = cluster.tctl(&["get", "role/a,roles", "--format=text"]).ok();
    assert!(text.starts_with("Kind  Name  Version  Labels  Description\n"), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(cluster.tctl(&["get", "role", "missing"]).refused().contains("role \"missing\" not found"));
    let refusal = cluster.tctl_with(&["create"], "kind: rolle\nversion: v7\nmetadata: {name: x}\n").refused();
    assert!(refusal.contains("called \"rolle\"; did you mean role?"), "{refusal}");
    let usage = cluster.tctl(&["get", "rols/a"]);
    assert!(usage.exit == 2 && usage.errors.contains("called \"rols\"; did you mean role?"), "{usage:?}");
    let usage = cluster.tctl(&["get", "elephants"]);
    assert!(
        usage.exit == 2 && usage.errors.contains("there is no kind of resource called \"elephants\""),
        "{usage:?}"
    );
}

/// Also where the cluster added to it what only it can make.
#[test]
fn everything_can_be_given_back() {
    let cluster = Cluster::start();
    cluster.tctl_with(&["create"], ROLES).ok();
    cluster.tctl(&["tokens", "add", "--type=node", "--value=s3cr3ts3cr3ts3cr3t", "--format=text"]).ok();
    for single in ["cluster_auth_preference", "cluster_networking_config", "session_recording_config"] {
        cluster
            .tctl_with(&["create"], &format!("kind: {single}\nversion: v2\nmetadata: {{}}\nspec: {{}}\n"))
            .ok();
    }
    let all = cluster.tctl(&["get", "all"]).ok();
    assert!(all.contains("s3cr3ts3cr3ts3cr3t"), "{all}");
    let follows = "kind: role\nversion: v7\nmetadata:\n  name: bot-x\n  labels: {teleport.dev/bot: x}\n";
    let got = format!("{all}---\n{follows}");
    let said = cluster.tctl_with(&["create", "-f"], &got);
    assert_eq!(said.errors, "left out: document 7: role \"bot-x\" follows from the bot \"x\"\n");
    assert_eq!(said.ok().lines().filter(|line| line.ends_with("has been updated")).count(), 6);
    let refusal = cluster.tctl_with(&["create", "-f"], follows).refused();
    assert!(
        refusal.contains("role \"bot-x\" follows") && refusal.contains("nothing was changed"),
        "{refusal}"
    );
}

#[test]
fn json_says_what_was_done() {
    let cluster = Cluster::start();
    let created = cluster.tctl_with(&["create", "--format=json"], ROLES).ok();
    let created: Value = serde_json::from_str(&created).expect("JSON");
    assert_eq!(created[1], serde_json::json!({"kind": "role", "name": "b", "action": "created"}));
}

/// Editors come from the environment of a process, so this one is a process.
#[test]
fn edited_in_an_editor() {
    let cluster = Cluster::start();
    cluster.tctl_with(&["create"], ROLES).ok();
    let edit = |script: &str| {
        let editor = cluster.file("editor");
        std::fs::write(&editor, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let mut tctl = std::process::Command::new(env!("CARGO_BIN_EXE_tctl"));
        tctl.env("TMPDIR", cluster.directory.path()).env("EDITOR", "false").env("TELEPORT_EDITOR", &editor);
        let done =
            tctl.arg("-c").arg(cluster.file("postern.yaml")).args(["edit", "role/a"]).output().expect("ran");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    let edits = || {
        let names = std::fs::read_dir(cluster.directory.path()).expect("there").flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with("tctl-edit-")).count()
    };
    let (code, output, _) = edit("sed -i 's/root/admin/' \"$1\"");
    assert_eq!((code, output.as_str()), (Some(0), "role \"a\" has been updated\n"));
    assert!(cluster.tctl(&["get", "role/a"]).ok().contains("- admin"));
    let (code, output, _) = edit("true");
    assert_eq!((code, output.as_str()), (Some(0), "Edit cancelled, no changes were made.\n"));
    let (code, _, errors) = edit("exit 3");
    assert!(code == Some(1) && errors.contains("failed: exit status: 3"), "{errors}");
    assert_eq!(edits(), 0);

    let (code, _, errors) = edit("sed -i 's/logins/logis/' \"$1\"");
    assert!(code == Some(1) && errors.contains("spec.allow"), "{errors}");
    let kept = errors.trim_end().rsplit_once("your text is kept in ").expect("the place").1.to_owned();
    assert!(std::fs::read_to_string(kept).expect("kept").contains("logis"));

    // Somebody else is faster.
    let tctl = format!("{} -c {}", env!("CARGO_BIN_EXE_tctl"), cluster.file("postern.yaml").display());
    let meanwhile = format!("{tctl} get role/a | sed 's/admin/other/' | {tctl} create -f >/dev/null");
    let (code, _, errors) = edit(&format!("{meanwhile}\nsed -i 's/admin/mine/' \"$1\""));
    assert!(code == Some(1) && errors.contains("role \"a\" has changed"), "{errors}");
    assert!(errors.contains("edit again; your text is kept in "), "{errors}");
    assert!(cluster.tctl(&["get", "role/a"]).ok().contains("- other"));
    assert_eq!(edits(), 2);
}
