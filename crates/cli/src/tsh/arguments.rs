//! The published form without a subcommand: `tsh -i identity --proxy p root@my-host hostname`.

use super::Tsh;
use clap::{ArgAction, CommandFactory};
use std::ffi::{OsStr, OsString};

/// Puts `ssh` before a first word that is `login@host`. Any other unknown word stays as it is, so that a mistyped
/// subcommand is told as such and not dialled.
pub(super) fn with_subcommand(mut words: Vec<OsString>) -> Vec<OsString> {
    if let Some(at) = target_in_place_of_subcommand(&words) {
        words.insert(at, "ssh".into());
    }
    words
}

fn target_in_place_of_subcommand(words: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        if word == "--" || !word.starts_with('-') {
            return word.contains('@').then_some(at);
        }
        at += if takes_next_word(word) { 2 } else { 1 };
    }
    None
}

/// Whether `word` is an option before the subcommand whose value is the next word.
fn takes_next_word(word: &str) -> bool {
    let command = Tsh::command();
    let takes_value = |name: &dyn Fn(&clap::Arg) -> bool| {
        command
            .get_arguments()
            .any(|argument| matches!(argument.get_action(), ArgAction::Set) && name(argument))
    };
    if let Some(long) = word.strip_prefix("--") {
        return takes_value(&|argument| argument.get_long() == Some(long));
    }
    // `-di FILE` takes the next word, `-iFILE` does not.
    let shorts = word.trim_start_matches('-');
    let valued = shorts.char_indices().find(|(_, short)| takes_value(&|a| a.get_short() == Some(*short)));
    valued.is_some_and(|(at, short)| at + short.len_utf8() == shorts.len())
}

/// The words of a remote command as one line, as they were given.
pub(super) fn command_line(words: &[OsString]) -> Vec<u8> {
    let words = match words {
        [first, rest @ ..] if first == OsStr::new("--") => rest,
        words => words,
    };
    let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_encoded_bytes()).collect();
    bytes.join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Tsh};
    use super::{command_line, with_subcommand};
    use clap::{CommandFactory, Parser};

    fn parse(line: &str) -> Result<Tsh, clap::Error> {
        let words = line.split_whitespace().map(Into::into).collect();
        Tsh::try_parse_from(with_subcommand(words))
    }

    #[test]
    fn the_definition_is_sound() {
        Tsh::command().debug_assert();
    }

    #[test]
    fn three_forms_of_one_command() {
        for line in [
            "tsh -i id --proxy p ssh root@my-host hostname",
            "tsh ssh -i id --proxy p root@my-host hostname",
            "tsh -i id ssh --proxy=p root@my-host hostname",
            "tsh -i id --proxy p root@my-host hostname",
            "tsh -iid --proxy=p root@my-host hostname",
            "tsh -di id --proxy p root@my-host hostname",
        ] {
            let tsh = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(tsh.global.identity.as_deref(), Some(std::path::Path::new("id")), "{line}");
            assert_eq!(tsh.global.proxy.as_deref(), Some("p"), "{line}");
            let Command::Ssh(ssh) = tsh.command else { panic!("{line}") };
            assert_eq!(ssh.target(), "root@my-host", "{line}");
            assert_eq!(command_line(ssh.command()), b"hostname", "{line}");
        }
    }

    #[test]
    fn what_follows_the_host_is_the_commands() {
        for (line, command) in [
            ("tsh ssh h ls -l --proxy x", "ls -l --proxy x"),
            ("tsh ssh h -l x", "-l x"),
            ("tsh ssh -t -p 22 h -- echo -- a", "echo -- a"),
            ("tsh ssh h --help", "--help"),
            ("tsh ssh h", ""),
            ("tsh a@h -i x", "-i x"),
        ] {
            let Command::Ssh(ssh) = parse(line).expect(line).command else { panic!("{line}") };
            assert_eq!(String::from_utf8_lossy(&command_line(ssh.command())), command, "{line}");
        }
    }

    #[test]
    fn options_after_the_subcommand_count() {
        let tsh = parse("tsh ssh -l root -c leaf -d -p 3023 -L 1:h:2 -N -n -T h").expect("parses");
        assert_eq!(
            (tsh.global.login.as_deref(), tsh.global.cluster.as_deref()),
            (Some("root"), Some("leaf"))
        );
        assert!(tsh.global.debug);
    }

    #[test]
    fn mistakes_are_told() {
        for line in
            ["tsh", "tsh lss", "tsh ssh", "tsh ssh -p x h", "tsh scp one", "tsh --nonsense ls", "tsh ssh -t"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
