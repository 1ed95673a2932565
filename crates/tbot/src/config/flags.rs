//! Flags of `tbot start` and `tbot configure`, and how they stand above the file.

use super::file;
use crate::destination::{Destination, Directory, Symlinks};
use access::resource::token::JoinMethod;
use clap::Args;
use std::path::PathBuf;

/// What of the file each flag says.
const FLAGS: [(&str, &str); 12] = [
    ("auth_server", "--auth-server"),
    ("proxy_server", "--proxy-server"),
    ("certificate_ttl", "--certificate-ttl"),
    ("credential_ttl", "--certificate-ttl"),
    ("renewal_interval", "--renewal-interval"),
    ("diag_addr", "--diag-addr"),
    ("onboarding.token", "--token"),
    ("onboarding.join_method", "--join-method"),
    ("onboarding.ca_pins", "--ca-pin"),
    ("onboarding.bound_keypair", "--registration-secret"),
    ("storage", "--data-dir"),
    ("outputs", "--destination-dir"),
];

/// Each flag that is given overrides the file.
#[derive(Debug, Clone, Default, Args)]
pub struct StartFlags {
    /// Address of the auth service, host:port
    #[arg(short = 'a', long, env = "TELEPORT_AUTH_SERVER", value_name = "HOST:PORT")]
    pub auth_server: Option<String>,
    /// Address of a proxy, host:port
    #[arg(long, env = "TELEPORT_PROXY", value_name = "HOST:PORT")]
    pub proxy_server: Option<String>,
    /// Join token, or the absolute path of a file that holds it
    #[arg(long, env = "TELEPORT_BOT_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Pin of the cluster's host authority (sha256:...); may be repeated
    #[arg(long = "ca-pin", value_name = "PIN")]
    pub ca_pins: Vec<String>,
    /// Where the agent keeps its own identity: a path, file:///path or memory://
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Write one identity output to this directory, instead of the file's outputs
    #[arg(long, value_name = "DIR")]
    pub destination_dir: Option<PathBuf>,
    /// Life of the certificates, like 1h
    #[arg(long, alias = "credential-ttl", value_name = "DURATION")]
    pub certificate_ttl: Option<String>,
    /// Time between renewals, like 20m
    #[arg(long, value_name = "DURATION")]
    pub renewal_interval: Option<String>,
    /// How the agent proves itself: token, bound_keypair, tpm, github, gitlab, kubernetes and others
    #[arg(long, value_name = "METHOD")]
    pub join_method: Option<String>,
    /// Registration secret of a bound_keypair token, or the absolute path of a file that holds it
    #[arg(long, env = "TBOT_REGISTRATION_SECRET", hide_env_values = true, value_name = "FILE")]
    pub registration_secret: Option<String>,
    /// Write everything once, then end
    #[arg(long)]
    pub oneshot: bool,
    /// Where health and metrics are served, address:port
    #[arg(long, value_name = "ADDR:PORT")]
    pub diag_addr: Option<String>,
    /// Refused: Postern never skips the verification of a server
    #[arg(long, hide = true)]
    pub insecure: bool,
    /// Stands where neither the file nor `--data-dir` says where the agent keeps its own identity.
    #[arg(skip)]
    pub storage_unless_set: Option<String>,
}

impl StartFlags {
    /// Lays the flags over the file (fact sheet, section 1.4). Gives the names of keys that the file had and a
    /// flag replaced, for the log, or what is wrong with a flag.
    pub fn apply(&self, file: &mut file::File) -> Result<Vec<&'static str>, String> {
        if self.insecure {
            return Err(
                "--insecure is not supported: Postern never skips the verification of a server; give \
                        --ca-pin (tctl status shows the pin)"
                    .to_owned(),
            );
        }
        let mut replaced = Vec::new();
        let mut text = |key: &'static str, place: &mut Option<String>, flag: &Option<String>| {
            if let Some(value) = flag
                && place.replace(value.clone()).is_some_and(|before| before != *value)
            {
                replaced.push(key);
            }
        };
        text("auth_server", &mut file.auth_server, &self.auth_server);
        text("proxy_server", &mut file.proxy_server, &self.proxy_server);
        let ttl =
            if file.credential_ttl.is_some() { &mut file.credential_ttl } else { &mut file.certificate_ttl };
        text("certificate_ttl", ttl, &self.certificate_ttl);
        text("renewal_interval", &mut file.renewal_interval, &self.renewal_interval);
        text("diag_addr", &mut file.diag_addr, &self.diag_addr);
        file.oneshot |= self.oneshot;
        if let Some(onboarding) = self.onboarding()? {
            replaced.extend(file.onboarding.replace(onboarding).map(|_| "onboarding"));
        }
        if let Some(data_dir) = &self.data_dir {
            replaced.extend(file.storage.replace(storage(data_dir)?).map(|_| "storage"));
        }
        if let Some(default) = self.storage_unless_set.as_ref().filter(|_| file.storage.is_none()) {
            file.storage = Some(storage(default)?);
        }
        if let Some(directory) = &self.destination_dir {
            if !file.outputs.is_empty() || !file.services.is_empty() {
                replaced.push("outputs");
            }
            file.services.clear();
            file.outputs = vec![identity_output(directory)];
        }
        Ok(replaced)
    }

    /// The flag that says what is at `path` of the file.
    pub fn named(path: &str) -> Option<&'static str> {
        let is_at = |key: &str| {
            path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        FLAGS.iter().find(|(key, _)| is_at(key)).map(|(_, flag)| *flag)
    }

    /// The same, if it was given.
    pub fn given(&self, path: &str) -> Option<&'static str> {
        let flag = Self::named(path)?;
        let onboarding = !self.ca_pins.is_empty()
            || [&self.token, &self.join_method, &self.registration_secret].iter().any(|flag| flag.is_some());
        let given = match flag {
            "--auth-server" => self.auth_server.is_some(),
            "--proxy-server" => self.proxy_server.is_some(),
            "--certificate-ttl" => self.certificate_ttl.is_some(),
            "--renewal-interval" => self.renewal_interval.is_some(),
            "--diag-addr" => self.diag_addr.is_some(),
            "--data-dir" => self.data_dir.is_some(),
            "--destination-dir" => self.destination_dir.is_some(),
            // Any one of them stands in place of the whole section.
            _ => onboarding,
        };
        given.then_some(flag)
    }

    /// Any one of these flags replaces the whole section.
    fn onboarding(&self) -> Result<Option<file::Onboarding>, String> {
        let given = [&self.token, &self.join_method, &self.registration_secret];
        if given.iter().all(|flag| flag.is_none()) && self.ca_pins.is_empty() {
            return Ok(None);
        }
        let word = self.join_method.as_deref().unwrap_or("token");
        let Some(join_method) = JoinMethod::find(word) else {
            let known: Vec<&str> = JoinMethod::all().map(JoinMethod::as_str).collect();
            let known = known.join(", ");
            return Err(format!("--join-method {word}: unrecognized join method; known are {known}"));
        };
        let registration_secret = self.registration_secret.clone();
        let bound_keypair =
            registration_secret.map(|secret| file::BoundKeypair { registration_secret: Some(secret) });
        Ok(Some(file::Onboarding {
            token: self.token.clone(),
            join_method: Some(file::JoinMethod(join_method)),
            bound_keypair,
            tpm: None,
            gitlab: None,
            terraform: None,
            azure: None,
            ca_pins: self.ca_pins.clone(),
            ca_path: None,
        }))
    }
}

fn identity_output(directory: &std::path::Path) -> file::Output {
    file::Output {
        kind: file::OutputKind::Identity,
        name: None,
        destination: Some(directory_at(directory.to_string_lossy().into_owned())),
        roles: Vec::new(),
        principals: Vec::new(),
        sshd: None,
        cluster: None,
        svid: None,
        jwts: Vec::new(),
        audiences: Vec::new(),
        listen: None,
        svids: Vec::new(),
        ssh_config: None,
        credential_ttl: None,
        renewal_interval: None,
        on_renew: Vec::new(),
    }
}

fn directory_at(path: String) -> file::Destination {
    let settings = file::DestinationSettings::of(file::DestinationKind::Directory);
    file::Destination::Settings(file::DestinationSettings { path: Some(path), ..settings })
}

/// Reads the place of a storage that is a directory: a path or `file:///path`.
pub fn directory(uri: &str) -> Result<Destination, String> {
    match storage(uri)? {
        file::Destination::Settings(file::DestinationSettings { path: Some(path), .. }) => {
            Ok(Destination::Directory(Directory::new(path, Symlinks::TrySecure)))
        }
        _ => Err(format!("{uri}: a key that is bound must be kept; give a directory")),
    }
}

/// Reads `--data-dir`: a path, `file:///path` or `memory://`.
fn storage(uri: &str) -> Result<file::Destination, String> {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Ok(directory_at(uri.to_owned()));
    };
    match (scheme, rest) {
        ("file", path) if path.starts_with('/') => Ok(directory_at(path.to_owned())),
        ("file", _) => Err(format!("--data-dir {uri}: a file URI has no host; write file:///path")),
        ("memory", "") => {
            let settings = file::DestinationSettings::of(file::DestinationKind::Memory);
            Ok(file::Destination::Settings(settings))
        }
        ("memory", _) => Err(format!("--data-dir {uri}: memory has neither host nor path; write memory://")),
        _ => Err(format!("--data-dir {uri}: unknown scheme {scheme:?}; known are file and memory")),
    }
}
