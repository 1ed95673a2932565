//! `tctl auth export`: public keys of the authorities, for the files of OpenSSH and of TLS libraries.

use crate::Failure;
use crate::tctl::session::Session;
use api::v1::TrustRequest;
use clap::{Args, ValueEnum};
use identity::openssh::{UserAuthority, authorized_user_authorities, exported_host_authorities};
use identity::pem;
use identity::trust::{Authority, TrustBundle};
use serde::Serialize;

/// Arguments of `tctl auth export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Which authority, in which form
    #[arg(long = "type", value_enum)]
    pub kind: What,
}

/// Authorities and the forms in which others read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Of users, for authorized_keys
    User,
    /// Of hosts, for known_hosts
    Host,
    /// Of hosts, X.509 in PEM
    TlsHost,
    /// Of users, X.509 in PEM
    TlsUser,
    /// Of users towards stock sshd, for authorized_keys
    Openssh,
}

#[derive(Serialize)]
struct Shown {
    cluster: String,
    export: String,
}

impl Export {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let answer = session.cluster()?.trust(TrustRequest::default()).await?.into_inner();
        let trust = api::convert::trust(answer)
            .map_err(|error| Failure::new(format!("the server's answer cannot be used: {error}")))?;
        let export = exported(self.kind, &trust);
        if export.is_empty() {
            return Err(Failure::new("this authority has no keys of that form"));
        }
        let shown = Shown { cluster: trust.cluster.to_string(), export };
        session.show(&shown, |shown, console| console.say(&shown.export))
    }
}

fn exported(kind: What, trust: &TrustBundle) -> String {
    match kind {
        What::User => authorized_user_authorities(trust, UserAuthority::User),
        What::Openssh => authorized_user_authorities(trust, UserAuthority::Openssh),
        What::Host => exported_host_authorities(trust),
        What::TlsHost => certificates(&trust.host),
        What::TlsUser => certificates(&trust.user),
    }
}

fn certificates(authority: &Authority) -> String {
    authority.tls.iter().map(|der| pem::certificate(der)).collect()
}
