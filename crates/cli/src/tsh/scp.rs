//! `tsh scp`: copies files between here and hosts, over SFTP.

mod download;
mod path;
mod progress;
mod upload;

use super::Global;
use super::connect::connect;
use super::failure::in_session;
use super::sftp::{Sftp, SftpError};
use super::target::Target;
use crate::Failure;
use clap::Args;
use path::Place;
use progress::Progress;
use std::process::ExitCode;
use transport::ssh::client::{Client, RequestError};

/// Bytes in one read or write: what every server takes.
const BLOCK: u32 = 32 << 10;
/// Requests under way for one file: enough for a long line, no more than a window.
const AHEAD: usize = 64;
/// How deep directories may be nested; a server could invent them without end.
const DEEPEST: usize = 256;

/// Options of `tsh scp`.
#[derive(Debug, Args)]
pub struct ScpArguments {
    /// Copy directories with everything in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Keep permissions and times
    #[arg(short, long)]
    pub preserve: bool,
    /// Port of the host's SSH service; any unless set
    #[arg(short = 'P', long, default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
    /// What to copy, and last where to: files here, or `[login@]host:path`
    #[arg(value_name = "SOURCE... DESTINATION", required = true, num_args = 2..)]
    pub paths: Vec<String>,
}

/// How to copy.
#[derive(Debug, Clone)]
struct Manner {
    recursive: bool,
    preserve: bool,
    progress: Progress,
}

/// What to copy, which way.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Up { sources: Vec<std::path::PathBuf>, host: Target, path: String },
    Down { sources: Vec<(Target, String)>, to: std::path::PathBuf },
}

/// Copies everything, or stops at the first failure.
pub async fn run(global: &Global, arguments: ScpArguments) -> Result<ExitCode, Failure> {
    let plan = plan(&arguments.paths)?;
    let manner = Manner {
        recursive: arguments.recursive,
        preserve: arguments.preserve,
        progress: Progress::new(arguments.quiet),
    };
    match plan {
        Plan::Up { sources, host, path } => {
            let connection = Connection::open(global, &host, arguments.port).await?;
            let copied = upload::run(&connection.sftp, &sources, &path, &manner).await;
            connection.close().await;
            copied?;
        }
        Plan::Down { sources, to } => download_all(global, arguments.port, &sources, &to, &manner).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Sources on one host share a connection.
async fn download_all(
    global: &Global,
    port: u16,
    mut sources: &[(Target, String)],
    to: &std::path::Path,
    manner: &Manner,
) -> Result<(), Failure> {
    let several = sources.len() > 1;
    while let Some((host, _)) = sources.first() {
        let same = sources.iter().take_while(|(other, _)| other == host).count();
        let (batch, rest) = sources.split_at(same);
        let connection = Connection::open(global, host, port).await?;
        let paths: Vec<&str> = batch.iter().map(|(_, path)| path.as_str()).collect();
        let copied = download::run(&connection.sftp, &paths, to, several, manner).await;
        connection.close().await;
        copied?;
        sources = rest;
    }
    Ok(())
}

fn plan(paths: &[String]) -> Result<Plan, Failure> {
    let places: Vec<Place> = paths.iter().map(|path| Place::parse(path)).collect::<Result<_, _>>()?;
    let [sources @ .., destination] = places.as_slice() else {
        return Err(Failure::usage("nothing to copy"));
    };
    match destination {
        Place::There(host, path) => {
            let here = sources.iter().map(|source| match source {
                Place::Here(path) => Ok(path.clone()),
                Place::There(..) => Err(Failure::usage("copying from host to host is not possible")
                    .hint("copy here first, then to the other host")),
            });
            Ok(Plan::Up { sources: here.collect::<Result<_, _>>()?, host: host.clone(), path: path.clone() })
        }
        Place::Here(to) => {
            let there = sources.iter().map(|source| match source {
                Place::There(host, path) => Ok((host.clone(), path.clone())),
                Place::Here(_) => Err(Failure::usage("neither source nor destination is on a host")
                    .hint("write [login@]host:path; use cp for files that are both here")),
            });
            Ok(Plan::Down { sources: there.collect::<Result<_, _>>()?, to: to.clone() })
        }
    }
}

struct Connection {
    client: Client,
    sftp: Sftp,
}

impl Connection {
    async fn open(global: &Global, host: &Target, port: u16) -> Result<Self, Failure> {
        let client = connect(global, host, port).await?;
        let mut session = client.session().await?;
        session.subsystem("sftp").await.map_err(|error| match error {
            RequestError::Refused => in_session(Failure::new(format!("{} has no SFTP server", host.host)))
                .hint("the roles of this identity, or the host's configuration, may forbid copying files"),
            error @ (RequestError::Closed | RequestError::Timeout(_)) => Failure::from(error),
        })?;
        let (reader, writer) = session.split();
        let (near, far) = tokio::io::duplex(256 << 10);
        tokio::spawn(transport::ssh::relay(reader, writer, far));
        let sftp = Sftp::start(near).await.map_err(|error| in_session(Failure::new(error.to_string())))?;
        Ok(Self { client, sftp })
    }

    async fn close(self) {
        drop(self.sftp);
        self.client.disconnect("done").await;
    }
}

fn remote(path: &[u8], error: &SftpError) -> Failure {
    Failure::new(format!("{}: {error}", String::from_utf8_lossy(path)))
}

fn local(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
