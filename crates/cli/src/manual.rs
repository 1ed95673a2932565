//! What the manual pages of `tctl` and `tsh` say beyond their commands and options: exit codes, files, examples.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

/// Sections for the end of a page.
#[derive(Debug)]
pub struct Manual {
    /// Code and meaning.
    pub exit_status: &'static [(&'static str, &'static str)],
    /// Path and what is there.
    pub files: &'static [(&'static str, &'static str)],
    /// Command and what it does.
    pub examples: &'static [(&'static str, &'static str)],
}

/// Of `tctl`.
pub const TCTL: Manual = Manual {
    exit_status: &[
        ("0", "What was asked for is done; for explain: it would be allowed."),
        ("1", "It failed or was refused. The reason is on standard error, after ERROR."),
        ("2", "The command itself makes no sense: an unknown option, a name that is none."),
        ("3", "explain ssh: it would be denied. The reason is on standard output."),
    ],
    files: &[
        ("/etc/postern.yaml", "Read for data_dir, unless -c names another file."),
        ("<data_dir>/admin.sock", "Where root administers the auth service of this machine."),
    ],
    examples: &[
        ("tctl bots add example --roles=example-role", "Makes a bot and prints its one-time token."),
        (
            "tctl explain ssh --as bot/example --login root --node web",
            "Says whether it may, and by which rule.",
        ),
        ("tctl join explain 4be0643f1d98573b", "Says why a joiner was refused."),
    ],
};

/// Of `tsh`.
pub const TSH: Manual = Manual {
    exit_status: &[
        ("0", "What was asked for is done."),
        (
            "1",
            "It failed or was refused; of every command but ssh. The reason is on standard error, after ERROR.",
        ),
        ("2", "The command itself makes no sense, like an unknown option."),
        ("255", "ssh: no session, or one that broke; or the remote command was ended by a signal."),
        ("128+N", "ssh: signal N to tsh ended the session."),
        ("others", "ssh: what the remote command ended with."),
    ],
    files: &[("identity", "What -i names: a file that tbot writes, with key, certificates and authorities.")],
    examples: &[
        ("tsh -i /opt/machine-id/identity --proxy proxy.example.com ls", "Lists the hosts within reach."),
        (
            "tsh -i /opt/machine-id/identity --proxy proxy.example.com ssh root@web uptime",
            "Runs a command on one.",
        ),
        (
            "tsh -i /opt/machine-id/identity --proxy proxy.example.com scp a.txt root@web:/tmp/",
            "Copies a file there.",
        ),
    ],
};

impl Manual {
    /// Adds them to the page of the program itself among generated ones.
    pub fn append_to(&self, directory: &Path, program: &str) -> io::Result<()> {
        let mut page = OpenOptions::new().append(true).open(directory.join(format!("{program}.1")))?;
        page.write_all(self.roff().as_bytes())
    }

    /// As roff, man(7).
    pub fn roff(&self) -> String {
        let Self { exit_status, files, examples } = self;
        let mut text = String::new();
        for (heading, entries) in [("EXIT STATUS", exit_status), ("FILES", files), ("EXAMPLES", examples)] {
            put(&mut text, format_args!(".SH \"{heading}\"\n"));
            for (tag, meaning) in *entries {
                put(&mut text, format_args!(".TP\n\\fB{}\\fR\n{}\n", escaped(tag), escaped(meaning)));
            }
        }
        text
    }
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    std::fmt::Write::write_fmt(text, words).expect("a text grows");
}

/// A hyphen is one that can be copied, and no line is a request.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::{TCTL, TSH, escaped};

    #[test]
    fn pages_say_how_programs_end() {
        for (manual, code) in [(TCTL, "\\fB3\\fR"), (TSH, "\\fB255\\fR")] {
            let page = manual.roff();
            for part in [".SH \"EXIT STATUS\"", ".SH \"FILES\"", ".SH \"EXAMPLES\"", code] {
                assert!(page.contains(part), "{part} is not in {page}");
            }
        }
        assert_eq!(escaped(".x -i \\"), "\\&.x \\-i \\e");
    }
}
