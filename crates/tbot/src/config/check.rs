//! From the file and the flags to a [`Config`]; every mistake is reported, each with its line and key.

use super::file::{self, File};
use super::outputs::{self, Rhythm};
use super::{Config, FirstTrust, Method, Onboarding, Server, StartFlags, TokenSource, destinations};
use crate::destination::{Destination, Directory, Symlinks};
use access::Ttl;
use access::resource::token::{JoinMethod, Provider};
use std::path::PathBuf;
use std::time::Duration;
use yaml::{Mistake, Mistakes, Reader, Report};

/// Where the agent keeps its own identity unless told otherwise (fact sheet, section 2.1).
pub const DEFAULT_STORAGE: &str = "/var/lib/teleport/bot";
const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(20 * 60);

/// A checked configuration and what the flags replaced in the file.
pub type Checked = (Config, Vec<&'static str>);

/// Reads the file named `name` in messages, lays the flags over it and checks the result. Gives all mistakes, each in one line.
pub fn load(name: &str, text: &str, flags: &StartFlags) -> Result<Checked, String> {
    read(name, text, flags).map_err(|mistakes| told(&mistakes, |path| flags.given(path), name))
}

/// Checks a configuration that consists of flags alone.
pub fn without_file(flags: &StartFlags) -> Result<Checked, String> {
    let mistakes = |mistakes| told(&mistakes, |path| StartFlags::named(path).or(Some("flags")), "flags");
    read("flags", "version: v2\n", flags).map_err(mistakes)
}

fn read(name: &str, text: &str, flags: &StartFlags) -> Result<Checked, Mistakes> {
    Reader::new(name).refusals(&file::REFUSED).check(text, |file, report| check(file, flags, report))
}

/// What stands in no line of the file is told with its flag.
fn told(mistakes: &Mistakes, flag: impl Fn(&str) -> Option<&'static str>, name: &str) -> String {
    let one = |mistake: &Mistake| match flag(&mistake.path.to_string()) {
        _ if mistake.text.starts_with("--") => mistake.text.clone(),
        Some(flag) => format!("{flag}: {}", mistake.text),
        None => mistake.of_file(name),
    };
    match mistakes.iter().any(|mistake| one(mistake) != mistake.of_file(name)) {
        true => mistakes.iter().map(one).collect::<Vec<_>>().join("\n"),
        false => mistakes.to_string(),
    }
}

fn check(mut file: File, flags: &StartFlags, report: &mut Report<'_>) -> Option<Checked> {
    match file.version {
        Some(file::Version::V2) => {}
        Some(file::Version::V1) => {
            report.mistake(
                "version",
                "v1 files are not read; rewrite the file in the v2 format (outputs with a type)",
            );
        }
        None => report.mistake("version", "missing; write `version: v2`"),
    }
    let replaced = match flags.apply(&mut file) {
        Ok(replaced) => replaced,
        Err(wrong) => {
            report.mistake("", wrong);
            Vec::new()
        }
    };
    let server = server(&file, report);
    let onboarding = onboarding(file.onboarding.take().unwrap_or_default(), report);
    let storage = match &file.storage {
        Some(storage) => destinations::destination("storage", storage, report),
        None => Some(Destination::Directory(Directory::new(DEFAULT_STORAGE, Symlinks::TrySecure))),
    };
    let certificate_ttl = certificate_ttl(&file, report);
    let renewal_interval =
        duration("renewal_interval", file.renewal_interval.as_deref(), DEFAULT_INTERVAL, report);
    let rhythm = Rhythm {
        certificate_ttl: certificate_ttl.unwrap_or(DEFAULT_TTL),
        renewal_interval: renewal_interval.unwrap_or(DEFAULT_INTERVAL),
    };
    let outputs = outputs::outputs(&file, storage.as_ref(), rhythm, report);
    let diag_addr = file.diag_addr.as_deref().filter(|address| !address.is_empty()).and_then(|address| {
        let parsed = address
            .parse()
            .map_err(|_| format!("{address:?} is not an address and port, like 127.0.0.1:3001"));
        report.take("diag_addr", parsed)
    });
    let config = Config {
        server: server?,
        onboarding: onboarding?,
        storage: storage?,
        outputs,
        certificate_ttl: certificate_ttl?,
        renewal_interval: renewal_interval?,
        oneshot: file.oneshot,
        diag_addr,
        debug: file.debug,
    };
    Some((config, replaced))
}

fn certificate_ttl(file: &File, report: &mut Report<'_>) -> Option<Duration> {
    let (key, text) = match (&file.certificate_ttl, &file.credential_ttl) {
        (None, newer @ Some(_)) => ("credential_ttl", newer),
        (older, None) => ("certificate_ttl", older),
        (Some(_), Some(_)) => {
            report
                .mistake("credential_ttl", "the newer name of certificate_ttl, which is given too; keep one");
            return None;
        }
    };
    duration(key, text.as_deref(), DEFAULT_TTL, report)
}

fn server(file: &File, report: &mut Report<'_>) -> Option<Server> {
    let given = |address: &Option<String>| address.clone().filter(|address| !address.is_empty());
    match (given(&file.proxy_server), given(&file.auth_server)) {
        (Some(proxy), None) => address("proxy_server", &proxy, 3080, report).map(Server::Proxy),
        (None, Some(auth)) => address("auth_server", &auth, 3025, report).map(Server::Auth),
        (Some(_), Some(_)) => {
            report
                .mistake("auth_server", "given together with proxy_server; keep one, proxy_server for most");
            None
        }
        (None, None) => {
            report.mistake(
                "proxy_server",
                "either a proxy or an auth address must be set: proxy_server in the file, --proxy-server or TELEPORT_PROXY",
            );
            None
        }
    }
}

fn address(key: &str, text: &str, default_port: u16, report: &mut Report<'_>) -> Option<String> {
    let checked = access::HostPort::parse(text, default_port).map(|address| address.to_string());
    report.take(key, checked)
}

fn onboarding(file: file::Onboarding, report: &mut Report<'_>) -> Option<Onboarding> {
    let pins: Vec<_> = file
        .ca_pins
        .iter()
        .enumerate()
        .filter_map(|(at, pin)| report.take(yaml::KeyPath::from("onboarding.ca_pins").item(at), pin.parse()))
        .collect();
    let trust = match (file.ca_pins.is_empty(), file.ca_path) {
        (true, None) => Some(FirstTrust::System),
        (true, Some(path)) => Some(FirstTrust::CaFile(PathBuf::from(path))),
        (false, None) => Some(FirstTrust::Pins(pins)),
        (false, Some(_)) => {
            report.mistake("onboarding.ca_path", "given together with ca_pins; keep one");
            None
        }
    };
    let token = given(file.token);
    // What belongs to a method that cannot be read is not known.
    if report.is_mistaken("onboarding.join_method") {
        return None;
    }
    let sections = Sections {
        bound: file.bound_keypair,
        tpm: file.tpm,
        gitlab: file.gitlab,
        terraform: file.terraform,
        azure: file.azure,
    };
    let method = method(&file.join_method, sections, report);
    if token.is_none() && method != Method::Token {
        report.mistake("onboarding.token", "missing; with this join method it is the name of the token");
    }
    Some(Onboarding { token, method, trust: trust? })
}

fn given(text: Option<String>) -> Option<TokenSource> {
    text.filter(|text| !text.is_empty()).map(TokenSource::of)
}

/// The sections of the methods that have one.
struct Sections {
    bound: Option<file::BoundKeypair>,
    tpm: Option<file::Tpm>,
    gitlab: Option<file::Gitlab>,
    terraform: Option<file::Terraform>,
    azure: Option<file::Azure>,
}

fn method(word: &Option<file::JoinMethod>, sections: Sections, report: &mut Report<'_>) -> Method {
    let Sections { bound, tpm, gitlab, terraform, azure } = sections;
    let word = word.map(|file::JoinMethod(word)| word).unwrap_or_default();
    for (key, given, of) in [
        ("onboarding.bound_keypair", bound.is_some(), JoinMethod::BoundKeypair),
        ("onboarding.tpm", tpm.is_some(), JoinMethod::Tpm),
        ("onboarding.gitlab", gitlab.is_some(), JoinMethod::Oidc(Provider::Gitlab)),
        ("onboarding.terraform", terraform.is_some(), JoinMethod::Oidc(Provider::TerraformCloud)),
        ("onboarding.azure", azure.is_some(), JoinMethod::Oidc(Provider::Azure)),
    ] {
        if given && word != of {
            let text = format!("this section does not belong to join_method: {}; remove it", word.as_str());
            report.mistake(key, text);
        }
    }
    let variable = gitlab.and_then(|gitlab| gitlab.token_env_var_name);
    let tag = terraform.and_then(|terraform| terraform.audience_tag);
    let variable = variable.or(tag.map(|tag| format!("TFC_WORKLOAD_IDENTITY_TOKEN_{tag}")));
    match word {
        JoinMethod::Oidc(Provider::Azure) => {
            let client_id = azure.and_then(|azure| azure.client_id).filter(|id| !id.is_empty());
            let plain = |id: &String| {
                id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            if client_id.as_ref().is_some_and(|id| !plain(id)) {
                report.mistake("onboarding.azure.client_id", "the client id of a managed identity is needed");
            }
            Method::Azure { client_id }
        }
        JoinMethod::Oidc(provider) => Method::Platform { provider, variable },
        JoinMethod::BoundKeypair => {
            let secret = bound.and_then(|bound| given(bound.registration_secret));
            Method::BoundKeypair { registration_secret: secret }
        }
        JoinMethod::Tpm => {
            let tpm = tpm.unwrap_or_default();
            let device = tpm.device.filter(|text| !text.is_empty());
            let device = device.and_then(|text| report.take("onboarding.tpm.device", text.parse()));
            let algorithm = tpm.endorsement_key.map(Into::into).unwrap_or_default();
            Method::Tpm { device: device.unwrap_or_default(), algorithm }
        }
        JoinMethod::Token => Method::Token,
    }
}

/// The duration at `key`, at least one second.
pub(super) fn duration(
    key: &str,
    text: Option<&str>,
    default: Duration,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let Some(text) = text else { return Some(default) };
    let parsed = text.parse::<Ttl>();
    let ttl = report.take(
        key,
        parsed.map_err(|_| format!("{text:?} is not a duration; write it like 1h30m, 20m or 45s")),
    )?;
    match ttl.limit() {
        Some(limit) if limit >= Duration::from_secs(1) => Some(limit),
        _ => {
            report.mistake(key, "must be at least one second");
            None
        }
    }
}
