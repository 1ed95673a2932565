//! `postern configure`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::ExitCode,
};

use super::{fail, fail_config, print};
use crate::{cli::Configure, config, configure::generate, defaults};

pub(crate) fn configure(arguments: &Configure) -> ExitCode {
    if let Some(path) = &arguments.check {
        return check(path);
    }
    if arguments.reference {
        return print(&config::reference());
    }
    let text = match generate(arguments) {
        Ok(text) => text,
        Err(error) => return fail(error),
    };
    match arguments.output.as_str() {
        "stdout" => print(&text),
        "file" => write(Path::new(defaults::CONFIG_FILE), &text),
        path => write(Path::new(path.strip_prefix("file://").unwrap_or(path)), &text),
    }
}

fn check(path: &Path) -> ExitCode {
    match config::load(path) {
        Ok(config) => {
            let warnings = config.warnings.iter().map(|warning| format!("warning: {warning}\n"));
            let services = config.services.names().join(", ");
            print(&format!("{}{} is valid; runs {services}\n", warnings.collect::<String>(), path.display()))
        }
        Err(error) => fail_config(&error),
    }
}

/// The file may hold a join token, so only its owner reads it.
fn write(path: &Path, text: &str) -> ExitCode {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    let path_shown = path.display();
    match written {
        Ok(()) => print(&format!("Wrote {path_shown}. Next: postern start -c {path_shown}\n")),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fail(format_args!("{path_shown} exists; remove it first, or choose another path with -o"))
        }
        Err(error) => {
            // Created by us and only half there; a reader would take it for whole.
            let _ = fs::remove_file(path);
            fail(format_args!("cannot write {path_shown}: {error}"))
        }
    }
}
