//! `tsh proxy ssh`: what OpenSSH runs to reach a host. Bytes between standard input, standard output and the host.

use super::caller::Caller;
use super::connect::dial;
use super::target::{self, Target};
use super::{Global, standard};
use crate::Failure;
use bytes::Bytes;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use std::process::ExitCode;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Options of `tsh proxy`.
#[derive(Debug, Args)]
pub struct ProxyArguments {
    /// For which program.
    #[command(subcommand)]
    pub protocol: Protocol,
}

/// What is carried.
#[derive(Debug, Subcommand)]
pub enum Protocol {
    /// The bytes of an SSH connection, for a ProxyCommand
    Ssh(ProxySshArguments),
}

/// Options of `tsh proxy ssh`.
#[derive(Debug, Args)]
pub struct ProxySshArguments {
    /// The host
    #[arg(value_name = "[LOGIN@]HOST[:PORT]", required_unless_present = "host", conflicts_with_all = ["user", "host", "port"])]
    pub target: Option<String>,
    /// The login on the host, as OpenSSH's %r
    #[arg(long)]
    pub user: Option<String>,
    /// The host, as OpenSSH's %h
    #[arg(long)]
    pub host: Option<String>,
    /// The port, as OpenSSH's %p
    #[arg(long)]
    pub port: Option<u16>,
}

impl ProxySshArguments {
    fn target(&self) -> Result<(Target, u16), Failure> {
        let (mut target, port) = match (&self.target, &self.host) {
            (Some(target), _) => Target::parse_with_port(target)?,
            (None, Some(host)) if host.contains('@') => {
                return Err(
                    Failure::usage(format!("{host:?} is not a host name")).hint("give the login with --user")
                );
            }
            (None, host) => (Target::parse(host.as_deref().unwrap_or_default())?, self.port.unwrap_or(0)),
        };
        if let Some(user) = &self.user {
            target.login = Some(target::login(user)?);
        }
        // OpenSSH is told 3022 for every host; the host's own port is the proxy's business.
        Ok((target, if port == 3022 { 0 } else { port }))
    }
}

/// Connects and carries bytes until the host ends.
pub async fn run(global: &Global, arguments: ProxyArguments) -> Result<ExitCode, Failure> {
    let Protocol::Ssh(arguments) = arguments.protocol;
    let (target, port) = arguments.target()?;
    let caller = Caller::load(global, Timestamp::now())?;
    let login = caller.login(global, &target)?;
    let dialled = dial(global, &caller, &target, &login, port).await?;
    let carried = carry(dialled.stream, standard::input(), standard::output(std::io::stdout())?).await;
    carried.map_err(|error| Failure::new(format!("the connection to {} broke: {error}", target.host)))?;
    Ok(ExitCode::SUCCESS)
}

/// The host's end ends it; our end alone only says that nothing more comes.
async fn carry(
    stream: impl AsyncRead + AsyncWrite,
    mut input: mpsc::Receiver<Bytes>,
    mut output: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let (mut from_host, mut to_host) = tokio::io::split(stream);
    let upward = async {
        while let Some(data) = input.recv().await {
            to_host.write_all(&data).await?;
        }
        to_host.shutdown().await
    };
    let downward = async {
        tokio::io::copy(&mut from_host, &mut output).await?;
        output.flush().await
    };
    tokio::select! {
        done = downward => done,
        Err(error) = upward => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Tsh};
    use super::{Protocol, carry};
    use bytes::Bytes;
    use clap::Parser;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;

    fn target(line: &str) -> Result<(Option<String>, String, u16), String> {
        let words = ["tsh", "proxy", "ssh"].into_iter().chain(line.split(' '));
        let tsh = Tsh::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Proxy(proxy) = tsh.command else { panic!("{line}") };
        let Protocol::Ssh(ssh) = proxy.protocol;
        let (target, port) = ssh.target().map_err(|failure| failure.reason)?;
        Ok((target.login.map(String::from), target.host, port))
    }

    #[test]
    fn both_forms() {
        let expected = |port| Ok((Some("root".to_owned()), "h.c".to_owned(), port));
        assert_eq!(target("root@h.c:22"), expected(22));
        assert_eq!(target("root@h.c:3022"), expected(0));
        assert_eq!(target("--user=root --host=h.c --port=3022"), expected(0));
        assert_eq!(target("--user=root --host=h.c --port=22"), expected(22));
        assert_eq!(target("h"), Ok((None, "h".to_owned(), 0)));
    }

    #[test]
    fn what_openssh_passes_on_is_data() {
        for line in [
            "--user=-oX --host=h --port=1",
            "--user=root --host=-oX --port=1",
            "--user=r --host=a@b",
            "a@-b:1",
            "--port=1",
        ] {
            assert!(target(line).is_err(), "{line}");
        }
    }

    #[tokio::test]
    async fn the_end_of_input_does_not_end_the_answer() {
        let (near, mut far) = tokio::io::duplex(64);
        let host = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("read");
            far.write_all(b"answer").await.expect("written");
            all
        });
        let (sender, input) = mpsc::channel(1);
        sender.send(Bytes::from_static(b"question")).await.expect("room");
        drop(sender);
        let mut output = Vec::new();
        carry(near, input, &mut output).await.expect("carried");
        assert_eq!((host.await.expect("done"), output), (b"question".to_vec(), b"answer".to_vec()));
    }
}
