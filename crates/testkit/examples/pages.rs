//! Writes the manual pages and the shell completions of every program, for packages: `pages DIRECTORY`.
//!
//! Beside the programs and not in them, so that none grows by what is needed once for each release.

use clap::CommandFactory;
use clap_complete::Shell;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("name the directory to write to: pages DIRECTORY"));
    };
    let programs = [
        daemon::cli::Cli::command(),
        cli::tctl::definition(),
        cli::tsh::definition(),
        tbot::program::Tbot::command(),
    ];
    for program in programs {
        write(program, &directory)?;
    }
    let man = directory.join("man");
    cli::manual::TCTL.append_to(&man, "tctl")?;
    cli::manual::TSH.append_to(&man, "tsh")
}

/// A page for each command in `man/`, a script for each shell in `completions/`.
fn write(program: clap::Command, directory: &Path) -> io::Result<()> {
    let name = program.get_name().to_owned();
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut program.clone(), &name, &completions)?;
    }
    clap_mangen::generate_to(program.version(env!("CARGO_PKG_VERSION")), man)
}
