//! `docs/src/design/openssh-tests.md`, written from the tables.

use std::fmt::Write;
use std::path::Path;

use super::scripts::{DIFFERENCES, Difference, EXCLUDED, SCRIPTS};

const INTRODUCTION: &str = "\
# OpenSSH's own tests

OpenSSH tests itself with about a hundred shell scripts, which Debian installs with the package `openssh-tests`. Those that can
run against a server that is not sshd run unmodified against a Postern node in `make test`: straight to its port, and through the
proxy (`tbot ssh-proxy-command`). One test for each, `cargo nextest run -p testkit --test openssh_regress`.

The scripts let the programs that they start be overridden. `ssh` is the real one with a bot's certificate; in the place of
`sshd` stands the node, at the port that the scripts know; `sftp-server`, and the remote half of `scp`, which many scripts would
start on the spot, are sessions on the node. Addresses and ports remain the scripts' own, so that what they send through a forward
goes through it. Asked for its algorithms (`ssh -Q`), `ssh` names those that a node has too. Each test has a network of its own
(as root), because scripts take fixed ports.

This page is written from the tables of the test (`UPDATE_GOLDEN=1`), which knows every script of the package (9.2p1).

## What runs
";

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n| script | what it proves of a server | through the proxy |\n|---|---|---|\n");
    let mut scripts: Vec<_> = SCRIPTS.iter().collect();
    scripts.sort_by_key(|script| script.name);
    for script in scripts {
        let proxied = script.straight_only.map_or("yes".to_owned(), |why| format!("no: {why}"));
        writeln!(page, "| `{}` | {} | {proxied} |", script.file(), script.about).expect("a string");
    }
    page.push_str("\n## Where a node answers otherwise\n\n");
    page.push_str(
        "Checks within those scripts that fail, and are expected to: the test compares them one by one.\n\n",
    );
    page.push_str("| script | step | what it says | why |\n|---|---|---|---|\n");
    for difference in DIFFERENCES {
        let Difference { script, step, said, why } = difference;
        writeln!(page, "| `{script}` | {step} | {said} | {why} |").expect("a string");
    }
    page.push_str("\n## What does not run\n");
    for (reason, files) in EXCLUDED {
        let files: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
        write!(page, "\n- {reason} {}.\n", files.join(", ")).expect("a string");
    }
    page
}

#[test]
fn the_page_of_these_tables_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/design/openssh-tests.md");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "run this test with UPDATE_GOLDEN=1 to write {}", path.display());
}
