//! `tbot tpm identify`: by what a token's rules name this machine.

use crate::config::file::EndorsementKey;
use clap::{Args, Subcommand};
use transport::tpm::Address;

/// What can be done with a TPM.
#[derive(Debug, Subcommand)]
pub enum Tpm {
    /// Print the hash of the endorsement key and the serial number of its certificate, for a token of method tpm
    Identify(Identify),
}

/// Arguments of `tbot tpm identify`.
#[derive(Debug, Args)]
pub struct Identify {
    /// Where the TPM is: a device, or unix:/path or tcp:host:port of a simulator
    #[arg(long, value_name = "DEVICE", default_value = transport::tpm::DEVICE)]
    pub device: String,
    /// Which endorsement key
    #[arg(long, value_enum, value_name = "KEY", default_value = "rsa")]
    pub endorsement_key: EndorsementKey,
}

impl Tpm {
    /// Runs the command.
    pub fn run(&self) -> Result<(), String> {
        let Self::Identify(Identify { device, endorsement_key }) = self;
        let place: Address = device.parse().map_err(|error| format!("--device {device} {error}"))?;
        let begun = crate::agent::tpm::begin(&place, (*endorsement_key).into());
        let (_, keys) = begun.map_err(|error| {
            format!(
                "{device}: {error}; if this machine has a TPM, see that the kernel shows it and that this user may open it, or name \
                 another with --device; if it has none, use another join method"
            )
        })?;
        let hash = keys.endorsement.hash();
        let certificate = match keys.serial() {
            Some(serial) => format!("EK Certificate Detected: true\nEK Certificate Serial: {serial}\n"),
            None => "EK Certificate Detected: false\n".to_owned(),
        };
        crate::console::print(&format!("TPM Information\nEK Public Hash: {hash}\n{certificate}"))?;
        eprintln!("{}", next_step(&hash));
        Ok(())
    }
}

/// Beside standard output, which programs read.
fn next_step(hash: &str) -> String {
    format!(
        "Allow this machine in a token of join_method tpm (spec.tpm.allow: [{{ek_public_hash: {hash}}}]), made with tctl \
         create -f; then set onboarding.join_method to tpm and onboarding.token to the token's name"
    )
}
