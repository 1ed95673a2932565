//! The tests and modules of our crates by their paths, read from the source as rustfmt leaves it.
//!
//! For pages that name tests. Nothing is expanded: a test that a macro makes is not seen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a crate has, as `crate::module::name`. Tests of `tests/file.rs` are `crate::file::name`, as test runners call them.
#[derive(Debug, Default)]
pub struct Source {
    /// Functions that are tests.
    pub tests: BTreeSet<String>,
    /// Modules, those of tests too.
    pub modules: BTreeSet<String>,
}

impl Source {
    /// Reads every crate in `crates`.
    pub fn read(crates: &Path) -> Self {
        let mut source = Self::default();
        for directory in listed(crates) {
            let krate = name(&directory);
            for root in ["src/lib.rs", "src/main.rs"] {
                source.file(&directory.join(root), &directory.join("src"), &krate);
            }
            for test in listed(&directory.join("tests")) {
                let path = format!("{krate}::{}", name(&test));
                match test.is_dir() {
                    true => source.file(&test.join("main.rs"), &test, &path),
                    false => source.file(&test, &directory.join("tests"), &path),
                }
            }
        }
        source
    }

    /// One file and the modules that it names; `children` is where those are.
    fn file(&mut self, file: &Path, children: &Path, module: &str) {
        let Ok(text) = std::fs::read_to_string(file) else { return };
        self.modules.insert(module.to_owned());
        // Modules that are open here, each with the indentation at which it is closed.
        let mut open: Vec<(usize, String)> = Vec::new();
        let (mut is_test, mut elsewhere) = (false, None);
        for line in text.lines() {
            let word = line.trim_start();
            let depth = line.len() - word.len();
            if word == "}" && open.last().is_some_and(|(closed_at, _)| *closed_at == depth) {
                open.pop();
            }
            if let Some(attribute) = word.strip_prefix("#[") {
                is_test |= attribute.contains("test]") || attribute.contains("::test(");
                elsewhere =
                    attribute.strip_prefix("path = \"").and_then(|rest| rest.split('"').next()).or(elsewhere);
                continue;
            }
            let here = open.last().map_or(module, |(_, path)| path).to_owned();
            if let Some(item) = item(word, "mod ") {
                let path = format!("{here}::{item}");
                self.modules.insert(path.clone());
                match word.ends_with(';') {
                    true => self.child(file, children, elsewhere, &path, item),
                    false => open.push((depth, path)),
                }
            } else if let Some(function) = item(word, "fn ").filter(|_| is_test) {
                self.tests.insert(format!("{here}::{function}"));
            }
            if !word.starts_with("//") {
                (is_test, elsewhere) = (false, None);
            }
        }
    }

    fn child(&mut self, file: &Path, children: &Path, elsewhere: Option<&str>, path: &str, item: &str) {
        let directory = children.join(item);
        if let Some(elsewhere) = elsewhere {
            let file = file.with_file_name(elsewhere);
            return self.file(&file, &file.with_extension(""), path);
        }
        self.file(&children.join(format!("{item}.rs")), &directory, path);
        self.file(&directory.join("mod.rs"), &directory, path);
    }
}

/// The name of an item whose line begins with `keyword`, whatever its visibility.
fn item<'l>(line: &'l str, keyword: &str) -> Option<&'l str> {
    let line = line
        .strip_prefix("pub ")
        .or_else(|| Some(line.strip_prefix("pub(")?.split_once(") ")?.1))
        .unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line).strip_prefix(keyword)?;
    line.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

fn listed(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.expect("listed").path()).collect()
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::Source;
    use std::path::Path;

    #[test]
    fn this_very_test_is_found_and_what_is_none_is_not() {
        let source = Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        let this = "testkit::source::tests::this_very_test_is_found_and_what_is_none_is_not";
        assert!(source.tests.contains(this));
        assert!(source.modules.contains("testkit::source::tests"));
        // In a module that is elsewhere, and in a macro.
        for test in [
            "identity::abuse::ssh_rows::c3_principals::an_empty_list_is_nobody",
            "auth::enrol::lineage::tests::the_honest_are_never_locked_and_copies_always",
        ] {
            assert!(source.tests.contains(test), "{test}");
        }
        assert!(!source.tests.contains("testkit::source::listed"));
    }
}
