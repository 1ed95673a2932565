//! `tctl` against a stand-in for the auth service: what it sends, what it prints, what it refuses.

mod commands;
mod fake;
mod output;
mod resources;

use cli::console::Console;
use fake::Fake;
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use tempfile::TempDir;

/// A stand-in for auth and a configuration that leads to it.
struct Cluster {
    fake: Fake,
    directory: TempDir,
}

/// What a run of tctl said.
#[derive(Debug)]
struct Said {
    exit: u8,
    output: String,
    errors: String,
}

impl Cluster {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        std::fs::create_dir(&data).expect("created");
        let config = format!("version: v3\npostern:\n  data_dir: {}\n  unknown: 1\n", data.display());
        std::fs::write(directory.path().join("postern.yaml"), config).expect("written");
        let fake = Fake::default();
        fake.serve(&data.join("admin.sock"));
        Self { fake, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tctl(&self, arguments: &[&str]) -> Said {
        self.tctl_with(arguments, "")
    }

    fn tctl_with(&self, arguments: &[&str], input: &str) -> Said {
        let config = self.file("postern.yaml");
        let config = config.to_str().expect("UTF-8");
        let all = ["tctl", "-c", config].into_iter().chain(arguments.iter().copied());
        run(all, input)
    }
}

impl Said {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.exit, 0, "{self:?}");
        self.output
    }

    #[track_caller]
    fn refused(self) -> String {
        assert_eq!(self.exit, 1, "{self:?}");
        self.errors
    }
}

fn run<'a>(arguments: impl IntoIterator<Item = &'a str>, input: &str) -> Said {
    let (output, errors) = (Shared::default(), Shared::default());
    let input = std::io::Cursor::new(input.as_bytes().to_vec());
    let mut console = Console::new(input, output.clone(), errors.clone());
    let exit = cli::tctl::run(arguments.into_iter().map(Into::into), &mut console);
    let said = Said { exit, output: output.text(), errors: errors.text() };
    let hidden = |text: &str| text.chars().any(|c| c != '\n' && cli::escape::is_hidden(c));
    assert!(!hidden(&said.output) && !hidden(&said.errors), "a terminal would obey: {said:?}");
    said
}

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("UTF-8")
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
