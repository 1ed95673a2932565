//! `tbot configure`: a configuration file from flags.

use crate::config::file::{File, Version};
use crate::config::{self, StartFlags};
use std::path::Path;

const HEADER: &str =
    "# tbot configuration, written by `tbot configure`. The reference is in the documentation.\n";

/// Writes the file, after checking that tbot would accept it.
pub fn run(flags: &StartFlags, output: Option<&Path>) -> Result<(), String> {
    if flags.join_method.is_none() && flags.token.is_none() {
        return Err("join method must be provided; give --join-method=token and --token".to_owned());
    }
    config::without_file(flags)?;
    let mut file = File { version: Some(Version::V2), ..File::default() };
    flags.apply(&mut file)?;
    file.certificate_ttl.get_or_insert_with(|| "1h0m0s".to_owned());
    file.renewal_interval.get_or_insert_with(|| "20m0s".to_owned());
    let body = serde_saphyr::to_string(&file).map_err(|error| error.to_string())?;
    let text = format!("{HEADER}{body}");
    match output {
        None => crate::console::print(&text),
        Some(path) => write_new(path, &text),
    }
}

/// The file holds a token: private from its first byte, and never in place of another.
fn write_new(path: &Path, text: &str) -> Result<(), String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("{} exists already; remove it, or write to another file", path.display())
        }
        _ => format!("cannot write {}: {error}", path.display()),
    })
}
