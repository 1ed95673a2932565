//! What the process may still reach, after it has become who it is: files by Landlock, system calls by seccomp. Both hold for
//! all that it ever starts. Where a kernel lacks one of them, the other and the rights of the user remain.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use super::calls;

/// The newest of what is asked for; a kernel that knows less gives what it knows.
const NEWEST: ABI = ABI::V6;

/// Where the system keeps what programs read: configuration, certificates, name services, time zones, its own state.
const SYSTEM: [&str; 16] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/opt",
    "/nix",
    "/gnu",
    "/dev",
    "/proc",
    "/sys",
    "/run",
    "/var/run",
    "/var/lib/sss",
];

/// Where programs put what does not outlive them. The daemon does not.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// The daemon's files.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Directories in which it makes, changes and removes files.
    pub written: Vec<PathBuf>,
    /// Directories from which it reads, beside the system's.
    pub read: Vec<PathBuf>,
    /// It starts programs, which are anywhere and may read anything.
    pub programs: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Files; and TCP ports and signals as far as the kernel knows how.
    pub files: Held,
    /// System calls.
    pub calls: Held,
}

/// Whether a confinement holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// All that was asked for.
    Fully,
    /// What this kernel knows of it.
    Partly,
    /// Nothing, and why.
    Not(String),
}

/// Confines this thread and those that it starts.
pub(super) fn confine(files: &Files) -> Confinement {
    // Landlock first: making its rules needs calls that the filter need not allow.
    let landlock = restrict(files).unwrap_or_else(|error| Held::Not(error.to_string()));
    Confinement { files: landlock, calls: filter(files.programs) }
}

fn restrict(files: &Files) -> Result<Held, RulesetError> {
    let everything = AccessFs::from_all(NEWEST);
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)?
        // No rule follows: all ports are taken by now.
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let system = if files.programs { AccessFs::from_read(NEWEST) } else { reading };
    let root = files.programs.then(|| PathBuf::from("/"));
    let read = SYSTEM.iter().map(PathBuf::from).chain(certificates()).chain(root);
    let read = read.map(|path| (path, system)).chain(files.read.iter().map(|path| (path.clone(), reading)));
    // Devices are written to and not made; terminals of sessions are unlocked and opened by calls of their own.
    let using = reading | AccessFs::WriteFile;
    let [all, multiplexer, terminals] = ["/dev", "/dev/ptmx", "/dev/pts"].map(PathBuf::from);
    let driving = using | AccessFs::IoctlDev;
    let devices = [(all, using), (multiplexer, driving), (terminals, driving)];
    let temporary = TEMPORARY.iter().map(PathBuf::from).filter(|_| files.programs);
    let written = files.written.iter().cloned().chain(temporary);
    let written = written.map(|path| (path, everything & !AccessFs::Execute));
    let mut rules = rules.set_compatibility(CompatLevel::BestEffort);
    for (path, access) in read.chain(devices).chain(written) {
        // What is not there cannot be allowed and is not missed.
        let Ok(opened) = PathFd::new(&path) else { continue };
        rules = rules.add_rule(PathBeneath::new(opened, access))?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Held::Fully,
        RulesetStatus::PartiallyEnforced => Held::Partly,
        RulesetStatus::NotEnforced => {
            Held::Not("the kernel has no Landlock, or it is switched off".to_owned())
        }
    })
}

/// Where the roots of the web are, if the environment says so.
fn certificates() -> impl Iterator<Item = PathBuf> {
    let file =
        std::env::var_os("SSL_CERT_FILE").and_then(|file| Path::new(&file).parent().map(Path::to_owned));
    file.into_iter().chain(std::env::var_os("SSL_CERT_DIR").map(PathBuf::from))
}

fn filter(programs: bool) -> Held {
    let filters = match calls::filters(programs) {
        Ok(filters) => filters,
        Err(error) => return Held::Not(error.to_string()),
    };
    for filter in &filters {
        if let Err(error) = seccompiler::apply_filter(filter) {
            return Held::Not(error.to_string());
        }
    }
    Held::Fully
}

/// Takes the right to listen from every thread, once all that is served is served. The rest of the confinement holds since
/// before the first byte; this has to wait for ports that are taken early and listened on late.
pub(super) fn no_more_listeners() -> Held {
    match calls::no_more_listeners() {
        Err(error) => Held::Not(error.to_string()),
        Ok(filter) => match seccompiler::apply_filter_all_threads(&filter) {
            Err(error) => Held::Not(error.to_string()),
            Ok(()) => Held::Fully,
        },
    }
}

impl Confinement {
    /// Says in the log what holds.
    pub fn tell(&self) {
        let Self { files, calls } = self;
        match [files, calls].iter().any(|held| matches!(held, Held::Not(_))) {
            true => {
                tracing::warn!(landlock = %files, seccomp = %calls, "the process is confined in part only")
            }
            false => tracing::info!(landlock = %files, seccomp = %calls, "the process is confined"),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fully => f.write_str("in force"),
            Self::Partly => f.write_str("in force, as far as this kernel knows it"),
            Self::Not(why) => write!(f, "not in force: {why}"),
        }
    }
}
