//! The command line of `postern`. What the commands do stands in `commands`, one file each.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;

/// Short-lived, audited SSH access: the daemon.
#[derive(Debug, Parser)]
#[command(name = "postern", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the services that the configuration file asks for.
    Start(Start),
    /// Write a commented configuration file, or check one.
    Configure(Box<Configure>),
    /// Print the version.
    Version,
}

/// Arguments of `postern start`.
#[derive(Debug, Args)]
pub struct Start {
    /// The configuration file [default: $POSTERN_CONFIG_FILE, $TELEPORT_CONFIG_FILE, /etc/postern.yaml].
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log at level DEBUG, whatever the file says.
    #[arg(short, long)]
    pub debug: bool,
}

/// Arguments of `postern configure`.
#[derive(Debug, Default, Args)]
pub struct Configure {
    /// Check this file and write nothing.
    #[arg(long, alias = "test", value_name = "FILE", exclusive = true)]
    pub check: Option<PathBuf>,
    /// Print the reference of all keys, in Markdown, and write nothing.
    #[arg(long, exclusive = true)]
    pub reference: bool,
    /// Where to write: `stdout`, `file` (/etc/postern.yaml), or a path; a file that exists is not overwritten.
    #[arg(short, long, default_value = "stdout", value_name = "WHERE")]
    pub output: String,
    /// The services to run [default: proxy,node,auth; node, if an address to join is given].
    #[arg(long, value_delimiter = ',', value_name = "ROLES")]
    pub roles: Vec<Role>,
    /// The name of the cluster, a DNS name in lower case.
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Where clients reach the proxy; without a proxy, where the proxy reaches the node.
    #[arg(long, value_name = "HOST:PORT")]
    pub public_addr: Option<String>,
    /// The directory for state.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The join token, or the absolute path of a file that holds it.
    #[arg(long)]
    pub token: Option<String>,
    /// The auth service to join.
    #[arg(long, value_name = "HOST:PORT")]
    pub auth_server: Option<String>,
    /// The proxy to join through.
    #[arg(long, value_name = "HOST:PORT")]
    pub proxy: Option<String>,
    /// What the certificate authority must look like (sha256:...); may be repeated.
    #[arg(long, value_name = "PIN")]
    pub ca_pin: Vec<String>,
    /// The name of this host in the cluster.
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// Labels of the node.
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,..")]
    pub node_labels: Vec<String>,
    /// The web certificate of the proxy, a PEM file.
    #[arg(long, requires = "key_file", value_name = "FILE")]
    pub cert_file: Option<String>,
    /// The key of the web certificate, a PEM file.
    #[arg(long, requires = "cert_file", value_name = "FILE")]
    pub key_file: Option<String>,
}

/// A service, by the name that `--roles` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The auth service.
    Auth,
    /// The proxy service.
    Proxy,
    /// The SSH service.
    Node,
}

/// Runs the program with these arguments and tells how it ended: 0 for well, 1 for not, 2 for wrong arguments.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // The help that was asked for is not an error; clap knows which and prints it where it belongs.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command {
        Command::Start(arguments) => commands::start(&arguments),
        Command::Configure(arguments) => commands::configure(&arguments),
        Command::Version => commands::version(),
    }
}
