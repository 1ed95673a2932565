//! Outputs, listed under `outputs` or `services`: each with a name of its own and a rhythm of its own.

use super::{Content, Output, check, destinations, file, hooks, workloads};
use crate::destination::{Destination, Memory};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use yaml::Report;

/// Names of the agent's own services, which no output may have.
pub const RESERVED: [&str; 2] = ["identity", "heartbeat"];
const LONGEST_NAME: usize = 64;

/// How long certificates live and how often they are renewed, where an output does not say otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    pub certificate_ttl: Duration,
    pub renewal_interval: Duration,
}

/// What must not be given twice.
struct Taken {
    directories: HashSet<PathBuf>,
    secrets: HashSet<String>,
    names: HashSet<String>,
}

/// Every output of both lists, or mistakes.
pub(super) fn outputs(
    file: &file::File,
    storage: Option<&Destination>,
    rhythm: Rhythm,
    report: &mut Report<'_>,
) -> Vec<Output> {
    let directories = storage.and_then(Destination::path).map(Path::to_owned).into_iter().collect();
    let mut taken = Taken { directories, secrets: HashSet::new(), names: RESERVED.map(str::to_owned).into() };
    let listed = |list: &'static str, outputs: &'_ [file::Output]| -> Vec<(String, file::Output)> {
        outputs.iter().enumerate().map(|(at, output)| (format!("{list}[{at}]"), output.clone())).collect()
    };
    let mut all = listed("outputs", &file.outputs);
    all.extend(listed("services", &file.services));
    let numbered = all.iter().zip(1..);
    numbered.filter_map(|((key, file), nth)| output(key, file, nth, &mut taken, rhythm, report)).collect()
}

fn output(
    key: &str,
    file: &file::Output,
    nth: usize,
    taken: &mut Taken,
    rhythm: Rhythm,
    report: &mut Report<'_>,
) -> Option<Output> {
    let name = name(key, file.name.as_deref(), nth, taken, report);
    let content = workloads::content(key, file, report);
    let destination = match (&file.destination, &content) {
        (None, Some(Content::WorkloadApi(_))) => Some(Destination::Memory(Memory::default())),
        (None, Some(_)) => {
            report.mistake(format!("{key}.destination").as_str(), "missing; say where it is to be written");
            None
        }
        (None, None) => None,
        (Some(file), _) => destinations::destination(&format!("{key}.destination"), file, report),
    };
    if let Some(path) = destination.as_ref().and_then(Destination::path)
        && !taken.directories.insert(path.to_owned())
    {
        let text = format!(
            "{} is the storage or another output's destination already; give each its own",
            path.display()
        );
        report.mistake(format!("{key}.destination").as_str(), text);
    }
    if let Some(Destination::Secret(secret)) = &destination
        && !taken.secrets.insert(secret.to_string())
    {
        let text = format!("{secret} is another output's destination already; give each its own");
        report.mistake(format!("{key}.destination").as_str(), text);
    }
    let role =
        |(nth, role): (usize, &String)| report.take(format!("{key}.roles[{nth}]").as_str(), role.parse());
    let roles = file.roles.iter().enumerate().filter_map(role).collect();
    let mut duration = |field: &str, text: Option<&str>, default| {
        check::duration(&format!("{key}.{field}"), text, default, report)
    };
    let certificate_ttl = duration("credential_ttl", file.credential_ttl.as_deref(), rhythm.certificate_ttl);
    let renewal_interval =
        duration("renewal_interval", file.renewal_interval.as_deref(), rhythm.renewal_interval);
    let on_renew = hooks::hooks(key, &file.on_renew, report);
    Some(Output {
        name: name?,
        destination: destination?,
        roles,
        content: content?,
        certificate_ttl: certificate_ttl?,
        renewal_interval: renewal_interval?,
        on_renew,
    })
}

/// Names stand in addresses and metrics.
fn name(
    key: &str,
    given: Option<&str>,
    nth: usize,
    taken: &mut Taken,
    report: &mut Report<'_>,
) -> Option<String> {
    let name = given.map_or_else(|| format!("output-{nth}"), str::to_owned);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fault = if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        format!("a name has letters, digits, '-', '_' and '.', and at most {LONGEST_NAME} of them")
    } else if RESERVED.contains(&name.as_str()) {
        format!("{name:?} is a service of the agent's own; choose another name")
    } else if !taken.names.insert(name.clone()) {
        format!("{name:?} is the name of another output already; give each its own")
    } else {
        return Some(name);
    };
    report.mistake(format!("{key}.name").as_str(), fault);
    None
}
