//! `tsh config`: a block for `~/.ssh/config`, by which OpenSSH reaches hosts through `tsh proxy ssh`.

use super::caller::Caller;
use super::{Global, proxy_address};
use crate::Failure;
use crate::console::Console;
use access::HostPort;
use identity::openssh::SshConfig;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints the block.
pub async fn run(global: &Global) -> Result<ExitCode, Failure> {
    let caller = Caller::load(global, Timestamp::now())?;
    let proxy = proxy_address::resolve(global).await?;
    let program = std::env::current_exe();
    let program = program.map_err(|error| Failure::new(format!("cannot tell where tsh is: {error}")))?;
    let text = render(&caller, &program, &proxy)?;
    Console::of_process().raw(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn render(caller: &Caller, program: &Path, proxy: &HostPort) -> Result<String, Failure> {
    let identity = std::path::absolute(&caller.file)
        .map_err(|error| Failure::new(format!("{}: {error}", caller.file.display())))?;
    let beside = |name: &str| file_beside(&identity, name);
    let cluster = caller.cluster();
    let word = |path: &Path| path.to_string_lossy().into_owned();
    let proxy_command = [
        word(program),
        "proxy".to_owned(),
        "ssh".to_owned(),
        format!("--identity={}", word(&identity)),
        format!("--proxy={proxy}"),
        format!("--cluster={cluster}"),
    ];
    let config = SshConfig {
        app: "tsh",
        cluster,
        proxy_host: proxy.host(),
        known_hosts: &beside("known_hosts")?,
        key: &beside("key")?,
        certificate: &beside("key-cert.pub")?,
        proxy_command: &proxy_command,
    };
    config.render().map_err(|error| Failure::new(error.to_string()))
}

/// OpenSSH wants key, certificate and authorities in files of their own, as tbot writes them.
fn file_beside(identity: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = identity.with_file_name(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(Failure::new(format!("there is no {}, which OpenSSH needs", path.display()))
            .hint("give the file `identity` in the output directory of tbot, which holds it")),
    }
}
