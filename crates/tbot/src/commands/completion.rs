//! `tbot completion SHELL`.

use crate::program::Tbot;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Flags of `tbot completion`.
#[derive(Debug, Args)]
pub struct CompletionFlags {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(flags: &CompletionFlags) -> Result<(), String> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut Tbot::command(), "tbot", &mut script);
    crate::console::print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::{CompletionFlags, Tbot};
    use clap::CommandFactory;
    use clap_complete::Shell;

    #[test]
    fn the_script_of_each_shell_knows_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Tbot::command(), "tbot", &mut script);
            let script = String::from_utf8(script).expect("text");
            for word in ["doctor", "destination-dir"] {
                assert!(script.contains(word), "{word} is not in that of {shell}");
            }
            super::run(&CompletionFlags { shell }).expect("printed");
        }
    }
}
