//! The engine has no power over anything: no sockets, files, clocks or threads, in its source or through what it links.

use std::path::{Path, PathBuf};

/// What it may link. Cryptography, bytes, and words for errors.
const DEPENDENCIES: [&str; 7] =
    ["aws-lc-rs", "base64", "bytes", "rand_core", "sntrup", "thiserror", "zeroize"];

/// What no file of it names.
const POWERS: [&str; 11] = [
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::io",
    "Instant",
    "SystemTime",
    "tokio",
    "unsafe",
];

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}

#[test]
fn it_links_what_it_may() {
    let manifest = read(&here().join("Cargo.toml"));
    let (_, after) = manifest.split_once("\n[dependencies]\n").expect("there are some");
    let section = after.split("\n[").next().expect("at least its beginning");
    let names =
        section.lines().filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty());
    assert_eq!(names.collect::<Vec<_>>(), DEPENDENCIES);
    assert_eq!(
        manifest.matches("dependencies]").count(),
        2,
        "those of tests, and none of a build or a platform"
    );
}

/// Every module in a directory that is compiled into the product: none that is declared for tests.
fn modules(directory: &Path, parent: &Path, found: &mut Vec<PathBuf>) {
    let text = read(parent);
    found.push(parent.to_owned());
    let mut test = false;
    for line in text.lines() {
        let declared = line.strip_prefix("pub ").or(line.strip_prefix("pub(crate) ")).unwrap_or(line);
        if let Some(name) = declared.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'))
            && !test
        {
            modules(&directory.join(name), &directory.join(format!("{name}.rs")), found);
        }
        test = line == "#[cfg(test)]";
    }
}

#[test]
fn it_names_no_power() {
    let mut files = Vec::new();
    modules(&here().join("src"), &here().join("src/lib.rs"), &mut files);
    assert!(files.len() > 30, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = read(&file);
        let product = text.split("#[cfg(test)]\nmod tests {").next().expect("at least its beginning");
        let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let named = POWERS.iter().filter(|power| line.contains(*power));
            wrong.extend(named.map(|power| format!("{}: {power}: {line}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
