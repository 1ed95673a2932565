//! The page of the book about the configuration file is what the program says about it.

use std::{path::PathBuf, process::Command};

const TOP: &str = "\
# postern.yaml

This page is written by the program (`postern configure --reference`) and held by a test; `UPDATE_GOLDEN=1 cargo nextest
run -p daemon reference` writes it anew. `postern configure --check FILE` reports all mistakes of a file at once, with line,
key and nearest match.

";

#[test]
fn the_reference_page_is_up_to_date() {
    let output = Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(["configure", "--reference"])
        .output()
        .expect("runs");
    let page = format!("{TOP}{}", String::from_utf8(output.stdout).expect("text"));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/postern-yaml.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("writes");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "docs/src/reference/postern-yaml.md is out of date; run with UPDATE_GOLDEN=1");
}
