//! Whatever the documentation promises is checked: pages that are generated are up to date, samples are read by the
//! programs that they are for, and the README's commands exist.

use clap::CommandFactory;
use std::path::{Path, PathBuf};
use testkit::source::Source;

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(tree().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page of the book, as (name, text).
fn pages() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    for directory in [
        "docs/src",
        "docs/src/guide",
        "docs/src/join",
        "docs/src/operate",
        "docs/src/reference",
        "docs/src/design",
    ] {
        for entry in std::fs::read_dir(tree().join(directory)).expect("a directory of the book") {
            let path = entry.expect("listed").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).expect("readable");
                pages.push((path.display().to_string(), text));
            }
        }
    }
    pages.push(("README.md".to_owned(), read("README.md")));
    pages
}

/// Fenced YAML blocks of a page.
fn yaml_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("```yaml\n") {
        let (block, after) = after.split_once("```").expect("a fence is closed");
        blocks.push(block.to_owned());
        rest = after;
    }
    blocks
}

#[test]
fn the_page_of_exit_codes_says_what_the_manual_pages_say() {
    let page = read("docs/src/reference/exit-codes.md");
    let (tctl, tsh) = page.split_once("## tsh").expect("a heading");
    for (part, manual) in [(tctl, cli::manual::TCTL), (tsh, cli::manual::TSH)] {
        let rows: Vec<&str> = part.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let expected = manual.exit_status.iter().map(|(code, meaning)| format!("| {code} | {meaning} |"));
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }
}

#[test]
fn the_page_of_commands_is_generated() {
    let programs = [
        daemon::cli::Cli::command(),
        cli::tctl::definition(),
        cli::tsh::definition(),
        tbot::program::Tbot::command(),
    ];
    let mut page = "# Commands\n\nGenerated from the programs. Every program also has `--help`.\n".to_owned();
    for program in &programs {
        page.push('\n');
        page.push_str(&cli::reference::markdown(program));
    }
    let path = tree().join("docs/src/reference/commands.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "run this test with UPDATE_GOLDEN=1 to write {}", path.display());
}

#[test]
fn sample_configurations_are_read_by_their_programs() {
    let mut seen = [0; 3];
    for (page, text) in pages() {
        for block in yaml_blocks(&text) {
            // Placeholders stand for values that are not known when a page is written.
            let pin = format!("sha256:{}", "a".repeat(64));
            let block = block
                .replace("sha256:<the pin>", &pin)
                .replace("sha256:<pin>", &pin)
                .replace("<token>", "t")
                .replace("<the token>", "t");
            if block.starts_with("version: v3") {
                seen[0] += 1;
                daemon::config::parse("sample", &block, "host")
                    .unwrap_or_else(|error| panic!("{page}:\n{error}"));
            } else if block.starts_with("version: v2") {
                seen[1] += 1;
                tbot::config::load("sample", &block, &tbot::config::StartFlags::default())
                    .unwrap_or_else(|error| panic!("{page}:\n{error}"));
            } else if block.starts_with("kind:") {
                seen[2] += 1;
                let _: access::resource::Resource =
                    serde_saphyr::from_str(&block).unwrap_or_else(|error| panic!("{page}:\n{error}"));
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "samples of every kind are found: {seen:?}");
}

#[test]
fn the_readmes_commands_exist() {
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    let targets: Vec<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("$ make ")?.split_whitespace().next()).collect();
    assert_eq!(targets, ["quickstart", "test"], "the first two commands of the README");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}:")), "make {target}");
    }
    assert!(read(".ci/run").contains("make test"), "CI runs the command that people run");
}

#[test]
fn the_architecture_page_has_the_edges_that_are_held() {
    let (page, test) = (read("docs/src/architecture.md"), read("crates/testkit/tests/layering.rs"));
    for name in ["identity", "transport", "agent", "auth", "proxy", "node", "tbot", "cli", "daemon"] {
        let held = test
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("(\"{name}\", &[")))
            .expect("in the table");
        let held: String = held.trim_end_matches("]),").replace('"', "");
        let told = page.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix("-> "));
        assert_eq!(told, Some(held.as_str()), "the edges of {name}");
    }
}

#[test]
fn the_sketch_of_the_ssh_engine_is_the_one_that_runs() {
    let (page, test) = (read("docs/src/design/ssh-engine.md"), read("crates/ssh/tests/driving.rs"));
    let (_, sketch) = test.split_once("// <sketch>\n").expect("its beginning is marked");
    let (sketch, _) = sketch.split_once("// </sketch>\n").expect("its end is marked");
    assert!(page.contains(&format!("```rust\n{sketch}```\n")), "copy it from crates/ssh/tests/driving.rs");
}

/// What stands in backticks and is a path into one of our crates.
fn cited(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|code| {
        let krate = code.split("::").next().unwrap_or_default();
        code.contains("::") && tree().join("crates").join(krate).join("Cargo.toml").exists()
    })
}

#[test]
fn tests_that_pages_name_exist() {
    let source = Source::read(&tree().join("crates"));
    let mut wrong = Vec::new();
    let vulnerabilities = read("docs/src/known-vulnerabilities.md");
    for row in vulnerabilities.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let test = row.trim_end_matches([' ', '|']).rsplit(" | ").next().expect("a cell");
        wrong.extend(cited(test).filter(|path| !source.tests.contains(*path)).map(str::to_owned));
        if cited(test).next().is_none() && !test.starts_with("none: ") {
            wrong.push(format!("neither a test nor why there is none: {row}"));
        }
    }
    let model = read("docs/src/threat-model.md");
    let known = |path: &str| source.tests.contains(path) || source.modules.contains(path);
    wrong.extend(cited(&model).filter(|path| !known(path)).map(str::to_owned));
    assert!(cited(&model).any(|path| source.tests.contains(path)), "the rules name tests");
    assert!(wrong.is_empty(), "not in the source:\n{}", wrong.join("\n"));
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        let directory = tree().join(&page);
        let directory = directory.parent().expect("a page is in a directory");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') && !directory.join(target).exists() {
                wrong.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
