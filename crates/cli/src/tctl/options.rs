//! What every command takes: where the cluster is, as whom to ask, in which form to answer.

use crate::Failure;
use crate::connection::{AUTH_PORT, DEFAULT_CONFIG, PROXY_PORT, Target, data_dir};
use crate::console::Format;
use access::HostPort;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options that may stand before or after the command.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Configuration of the auth service on this machine; only its data_dir is read [default: /etc/postern.yaml]
    #[arg(short, long, global = true, value_name = "FILE", env = "POSTERN_CONFIG_FILE")]
    pub config: Option<PathBuf>,
    /// Identity file of an administrator, to ask from another machine
    #[arg(short, long, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Address of the auth service, with -i; the port is 3025 unless given
    #[arg(long, global = true, value_name = "HOST[:PORT]", conflicts_with = "proxy")]
    pub auth_server: Option<String>,
    /// Address of a proxy, with -i; the port is 3080 unless given
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub proxy: Option<String>,
    /// Form of the output
    #[arg(long, global = true, value_enum)]
    pub format: Option<Form>,
    /// Accepted for scripts; errors always say all there is to say
    #[arg(short, long, global = true, hide = true)]
    pub debug: bool,
}

/// Words of `--format`. `auth sign` uses the same option for the kind of file it writes, and an option that stands
/// anywhere has one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people; may change between versions
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// With `auth sign`: an identity file
    #[value(hide = true)]
    File,
    /// With `auth sign`: files for OpenSSH
    #[value(hide = true)]
    Openssh,
}

impl Options {
    /// The form of the output, where one was asked for.
    pub fn output(&self) -> Option<Format> {
        match self.format? {
            Form::Text => Some(Format::Text),
            Form::Json => Some(Format::Json),
            Form::Yaml => Some(Format::Yaml),
            Form::File | Form::Openssh => None,
        }
    }

    /// Refuses forms that only `auth sign` has.
    pub fn check_format(&self) -> Result<(), Failure> {
        match self.format {
            Some(Form::File | Form::Openssh) => {
                Err(Failure::usage("--format=file and --format=openssh belong to tctl auth sign")
                    .hint("the forms of the output are text, json and yaml"))
            }
            _ => Ok(()),
        }
    }

    /// Where the auth service is and as whom to ask it.
    pub fn target(&self) -> Result<Target, Failure> {
        self.remote()?.map_or_else(|| self.local(), Ok)
    }

    fn remote(&self) -> Result<Option<Target>, Failure> {
        let address = self.auth_server.as_ref().or(self.proxy.as_ref());
        match (&self.identity, address) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Failure::usage("--auth-server and --proxy need an identity")
                .hint("give -i IDENTITY; tctl auth sign makes one")),
            (Some(_), None) => Err(Failure::usage("an identity needs a cluster to be used with")
                .hint("give --auth-server HOST[:PORT] or --proxy HOST[:PORT]")),
            (Some(identity), Some(address)) => {
                let port = if self.auth_server.is_some() { AUTH_PORT } else { PROXY_PORT };
                let address =
                    HostPort::parse(address, port).map_err(|error| Failure::usage(error.to_string()))?;
                Ok(Some(Target::Remote { identity: identity.clone(), address }))
            }
        }
    }

    /// A failure of a command, with the port that was assumed where none was given.
    pub(super) fn explained(&self, failure: Failure) -> Failure {
        failure
            .assumed(self.auth_server.as_deref(), &[AUTH_PORT])
            .assumed(self.proxy.as_deref(), &[PROXY_PORT])
    }

    fn local(&self) -> Result<Target, Failure> {
        let named =
            self.config.clone().or_else(|| std::env::var_os("TELEPORT_CONFIG_FILE").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
        let data_dir = data_dir(&path, named.is_some()).map_err(|error| Failure::new(error.to_string()))?;
        Ok(Target::Local { data_dir })
    }
}
