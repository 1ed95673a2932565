//! `tctl auth sign`: an identity for a user. The key is made here and never leaves the file.

use crate::tctl::Form;
use crate::tctl::session::Session;
use crate::{Failure, secret_file};
use access::{Ttl, UserName};
use api::v1::SignUserRequest;
use aws_lc_rs::rand::SystemRandom;
use clap::Args;
use identity::Credentials;
use identity::key::SubjectKey;
use jiff::Timestamp;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `tctl auth sign`.
#[derive(Debug, Args)]
#[command(
    long_about = "Write an identity for a user to a file.\n\nWith --format=file (the default) one file for -i of \
                        tsh and tctl; with --format=openssh a private key, and its certificate beside it in \
                        FILE-cert.pub."
)]
pub struct Sign {
    /// The user
    #[arg(long, value_name = "NAME")]
    pub user: UserName,
    /// The file to write
    #[arg(short, long = "out", value_name = "FILE")]
    pub out: PathBuf,
    /// How long the certificates are good; the user's roles may allow less
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    pub ttl: Ttl,
    /// Replace the file if it exists
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Serialize)]
struct Shown {
    user: UserName,
    files: Vec<PathBuf>,
    expires: Timestamp,
}

impl Sign {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let for_openssh = match session.options.format {
            Some(Form::Openssh) => true,
            Some(Form::Yaml) => {
                return Err(Failure::usage("tctl auth sign writes --format=file or --format=openssh"));
            }
            _ => false,
        };
        let certificate = beside(&self.out, "-cert.pub");
        let mut files = vec![self.out.clone()];
        files.extend(for_openssh.then_some(certificate));
        // Before a certificate exists that could not be written.
        files.iter().try_for_each(|file| secret_file::check_target(file, self.overwrite))?;
        let credentials = self.credentials(session).await?;
        let contents = match for_openssh {
            false => vec![identity_file(&credentials)?],
            true => openssh_files(&credentials)?,
        };
        for (file, content) in files.iter().zip(&contents) {
            secret_file::write(file, content.as_bytes(), self.overwrite)?;
        }
        let names = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ");
        let expires = credentials.expires();
        let sentence = format!(
            "The credentials of user {:?} have been written to {names}; they are good until {expires}.",
            self.user.as_str()
        );
        session.tell(&Shown { user: self.user, files, expires }, sentence)
    }

    async fn credentials(&self, session: &mut Session<'_>) -> Result<Credentials, Failure> {
        let ttl = self
            .ttl
            .limit()
            .ok_or_else(|| Failure::usage("a certificate needs an end; give --ttl like 12h"))?;
        let key =
            SubjectKey::generate(&SystemRandom::new()).map_err(|error| Failure::new(error.to_string()))?;
        let request = SignUserRequest {
            user: self.user.to_string(),
            public_key: key.spki_der(),
            ttl_seconds: ttl.as_secs(),
        };
        let answer = session.certificates()?.sign_user(request).await?.into_inner();
        let answer =
            answer.credentials.ok_or_else(|| Failure::new("the server's answer has no credentials"))?;
        api::convert::credentials(key, answer)
            .map_err(|error| Failure::new(format!("the server's answer cannot be used: {error}")))
    }
}

type Secret = zeroize::Zeroizing<String>;

fn identity_file(credentials: &Credentials) -> Result<Secret, Failure> {
    identity::file::encode(credentials).map_err(|error| Failure::new(error.to_string()))
}

/// The key, and the certificate under the name by which ssh finds it.
fn openssh_files(credentials: &Credentials) -> Result<Vec<Secret>, Failure> {
    let key = credentials.key.to_sec1_pem().map_err(|error| Failure::new(error.to_string()))?;
    let certificate = credentials.ssh_certificate.line() + "\n";
    Ok(vec![key, Secret::new(certificate)])
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
