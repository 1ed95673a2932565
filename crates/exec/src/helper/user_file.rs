//! Step 7, as the user: the user's own variables, from `~/.tsh/environment`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

const FILE: &str = ".tsh/environment";
/// More of the file is not read, and a file that is larger is not used.
const MAX_FILE: u64 = 64 * 1024;

/// The variables in the file: a line each, `NAME=value` without any quoting; `#` begins a comment. A file that cannot be
/// read has none.
pub(super) fn read(home: &Path) -> Vec<(String, String)> {
    let mut text = String::new();
    let read = open(&home.join(FILE)).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(length) if length as u64 <= MAX_FILE => parse(&text),
        _ => Vec::new(),
    }
}

/// Opens a file, or what a link leads to, and nothing that could be waited for: the session is not started yet.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn parse(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_values() {
        let text = "# a comment\nEDITOR=ed\n  A=\"b c\"=d \n\nno value\n=x\nB=";
        let pairs: Vec<(String, String)> = [("EDITOR", "ed"), ("A", "\"b c\"=d "), ("", "x"), ("B", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(parse(text), pairs);
    }

    #[test]
    fn no_file_and_too_large_a_file_are_none() {
        let home = tempfile::tempdir().expect("a directory");
        assert_eq!(read(home.path()), []);
        std::fs::create_dir(home.path().join(".tsh")).expect("made");
        std::fs::write(home.path().join(FILE), "A=b\n").expect("written");
        assert_eq!(read(home.path()).len(), 1);
        std::fs::write(home.path().join(FILE), "A=b\n".repeat(20_000)).expect("written");
        assert_eq!(read(home.path()), []);
    }

    #[test]
    fn nothing_is_waited_for() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join(FILE);
        std::fs::create_dir(home.path().join(".tsh")).expect("made");
        let fifo = std::process::Command::new("mkfifo").arg(&file).status();
        assert!(fifo.expect("coreutils are everywhere").success());
        assert_eq!(read(home.path()), []);
        std::fs::remove_file(&file).expect("removed");
        std::os::unix::fs::symlink("/dev/tty", &file).expect("linked");
        assert_eq!(read(home.path()), []);
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(home.path().join("elsewhere"), "A=b\n").expect("written");
        std::os::unix::fs::symlink("../elsewhere", &file).expect("linked");
        assert_eq!(read(home.path()).len(), 1, "a link to a file is one");
    }
}
