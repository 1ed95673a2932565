//! From the file and the flags to a [`Config`]; every mistake is reported, each with its line and key.

use super::file::{self, File};
use super::{Config, FirstTrust, Method, Onboarding, Output, Server, StartFlags, TokenSource};
use crate::destination::{Destination, Directory, Memory, Symlinks};
use access::Ttl;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use yaml::{Mistakes, Reader, Report};

/// Where the agent keeps its own identity unless told otherwise (fact sheet, section 2.1).
pub const DEFAULT_STORAGE: &str = "/var/lib/teleport/bot";
const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(20 * 60);

/// A checked configuration and what the flags replaced in the file.
pub type Checked = (Config, Vec<&'static str>);

/// Reads the file named `name` in messages, lays the flags over it and checks the result.
pub fn load(name: &str, text: &str, flags: &StartFlags) -> Result<Checked, Mistakes> {
    Reader::new(name).refusals(&file::REFUSED).check(text, |file, report| check(file, flags, report))
}

/// Checks a configuration that consists of flags alone.
pub fn without_file(flags: &StartFlags) -> Result<Checked, Mistakes> {
    load("flags", "version: v2\n", flags)
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
    let onboarding = onboarding(file.onboarding.unwrap_or_default(), report);
    let storage = match &file.storage {
        Some(storage) => destination("storage", storage, report),
        None => Some(Destination::Directory(Directory::new(DEFAULT_STORAGE, Symlinks::TrySecure))),
    };
    let outputs = outputs(&file.outputs, storage.as_ref(), report);
    let certificate_ttl = duration("certificate_ttl", file.certificate_ttl.as_deref(), DEFAULT_TTL, report);
    let renewal_interval =
        duration("renewal_interval", file.renewal_interval.as_deref(), DEFAULT_INTERVAL, report);
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
        (true, None) => FirstTrust::System,
        (true, Some(path)) => FirstTrust::CaFile(PathBuf::from(path)),
        (false, None) => FirstTrust::Pins(pins),
        (false, Some(_)) => {
            report.mistake("onboarding.ca_path", "given together with ca_pins; keep one");
            return None;
        }
    };
    let token = given(file.token);
    let method = method(&file.join_method, file.bound_keypair, (file.gitlab, file.terraform), report);
    if token.is_none() && method != Method::Token {
        report.mistake("onboarding.token", "missing; with this join method it is the name of the token");
    }
    Some(Onboarding { token, method, trust })
}

fn given(text: Option<String>) -> Option<TokenSource> {
    text.filter(|text| !text.is_empty()).map(TokenSource::of)
}

fn method(
    word: &Option<file::JoinMethod>,
    bound: Option<file::BoundKeypair>,
    (gitlab, terraform): (Option<file::Gitlab>, Option<file::Terraform>),
    report: &mut Report<'_>,
) -> Method {
    use file::JoinMethod::{BoundKeypair, Gitlab, TerraformCloud, Token};
    let word = word.unwrap_or(Token);
    for (key, given, of) in [
        ("onboarding.bound_keypair", bound.is_some(), BoundKeypair),
        ("onboarding.gitlab", gitlab.is_some(), Gitlab),
        ("onboarding.terraform", terraform.is_some(), TerraformCloud),
    ] {
        if given && word != of {
            let text = format!("this section does not belong to join_method: {}; remove it", word.as_str());
            report.mistake(key, text);
        }
    }
    let variable = gitlab.and_then(|gitlab| gitlab.token_env_var_name);
    let tag = terraform.and_then(|terraform| terraform.audience_tag);
    let variable = variable.or(tag.map(|tag| format!("TFC_WORKLOAD_IDENTITY_TOKEN_{tag}")));
    match word.provider() {
        Some(provider) => Method::Platform { provider, variable },
        None if word == BoundKeypair => {
            let secret = bound.and_then(|bound| given(bound.registration_secret));
            Method::BoundKeypair { registration_secret: secret }
        }
        None => Method::Token,
    }
}

fn destination(key: &str, file: &file::Destination, report: &mut Report<'_>) -> Option<Destination> {
    let settings = match file {
        file::Destination::Path(path) => return directory(key, path, Symlinks::TrySecure, true, report),
        file::Destination::Settings(settings) => settings,
    };
    match (settings.kind, &settings.path) {
        (file::DestinationKind::Memory, None) => Some(Destination::Memory(Memory::default())),
        (file::DestinationKind::Memory, Some(_)) => {
            report.mistake(format!("{key}.path").as_str(), "a memory destination has no path; remove it");
            None
        }
        (file::DestinationKind::Directory, None) => {
            report.mistake(format!("{key}.path").as_str(), "missing; a directory destination needs a path");
            None
        }
        (file::DestinationKind::Directory, Some(path)) => {
            let symlinks = match settings.symlinks.unwrap_or(file::Symlinks::TrySecure) {
                file::Symlinks::Secure => Symlinks::Secure,
                file::Symlinks::TrySecure => Symlinks::TrySecure,
                file::Symlinks::Insecure => Symlinks::Insecure,
            };
            let acls = settings.acls != Some(file::Acls::Off);
            directory(&format!("{key}.path"), path, symlinks, acls, report)
        }
    }
}

fn directory(
    key: &str,
    path: &str,
    symlinks: Symlinks,
    acls: bool,
    report: &mut Report<'_>,
) -> Option<Destination> {
    // The path ends up in ssh_config, where these would have to be escaped.
    if path.is_empty() || path.contains(|c: char| c.is_control() || matches!(c, '"' | '\'' | '\\')) {
        report.mistake(key, "is empty or contains quotes, backslashes or control characters");
        return None;
    }
    Some(Destination::Directory(Directory::new(path, symlinks).acls(acls)))
}

fn outputs(files: &[file::Output], storage: Option<&Destination>, report: &mut Report<'_>) -> Vec<Output> {
    let mut taken: HashSet<PathBuf> =
        storage.and_then(Destination::path).map(Path::to_owned).into_iter().collect();
    let mut outputs = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let key = format!("outputs[{at}]");
        let Some(destination) = destination(&format!("{key}.destination"), &file.destination, report) else {
            continue;
        };
        if let Some(path) = destination.path()
            && !taken.insert(path.to_owned())
        {
            let text = format!(
                "{} is the storage or another output's destination already; give each its own",
                path.display()
            );
            report.mistake(format!("{key}.destination").as_str(), text);
        }
        let role =
            |(nth, role): (usize, &String)| report.take(format!("{key}.roles[{nth}]").as_str(), role.parse());
        let roles = file.roles.iter().enumerate().filter_map(role).collect();
        let cluster = file.cluster.as_ref().filter(|cluster| !cluster.is_empty());
        let cluster =
            cluster.and_then(|cluster| report.take(format!("{key}.cluster").as_str(), cluster.parse()));
        let ssh_config = file.ssh_config != Some(file::SshConfig::Off);
        outputs.push(Output { destination, roles, cluster, ssh_config });
    }
    outputs
}

fn duration(key: &str, text: Option<&str>, default: Duration, report: &mut Report<'_>) -> Option<Duration> {
    let Some(text) = text else { return Some(default) };
    let ttl = report.take(key, text.parse::<Ttl>())?;
    match ttl.limit() {
        Some(limit) if limit >= Duration::from_secs(1) => Some(limit),
        _ => {
            report.mistake(key, "must be at least one second");
            None
        }
    }
}
