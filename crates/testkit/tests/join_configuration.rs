//! How a joiner is told that it is configured wrongly, the same with every join method: each mistake is one clear error, those of a
//! file are told all at once, the program ends with 1, and what was there before is as it was.

use access::resource::token::{JoinMethod, Provider};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::programs::{command, ours, root};
use testkit::{Cluster, Layout, Outcome, TpmMaker, run};

const PIN: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NOBODY: u32 = 65_534;

/// Of each method that has one, its section in `tbot.yaml` and a key in it.
const SECTIONS: [(JoinMethod, &str, &str); 5] = [
    (JoinMethod::BoundKeypair, "bound_keypair", "registration_secret"),
    (JoinMethod::Tpm, "tpm", "device"),
    (JoinMethod::Oidc(Provider::Gitlab), "gitlab", "token_env_var_name"),
    (JoinMethod::Oidc(Provider::TerraformCloud), "terraform", "audience_tag"),
    (JoinMethod::Oidc(Provider::Azure), "azure", "client_id"),
];

/// A configuration of the agent, in parts of which each can be made wrong.
struct Parts {
    method: JoinMethod,
    directory: PathBuf,
    servers: String,
    token: String,
    trust: String,
    more: String,
    storage: String,
    outputs: Vec<String>,
}

impl Parts {
    fn new(method: JoinMethod, directory: &Path) -> Self {
        let place = |name: &str| directory.join(name).display().to_string();
        Self {
            method,
            directory: directory.to_owned(),
            // Nobody is there.
            servers: "proxy_server: 127.0.0.1:1\n".to_owned(),
            token: "  token: machines\n".to_owned(),
            trust: format!("  ca_pins: ['{PIN}']\n"),
            more: String::new(),
            storage: place("storage"),
            outputs: vec![place("output")],
        }
    }

    fn place(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn section(&self) -> Option<(&'static str, &'static str)> {
        SECTIONS.iter().find(|(of, ..)| *of == self.method).map(|(_, section, key)| (*section, *key))
    }

    fn write(&self) -> PathBuf {
        let Self { method, servers, token, trust, more, storage, outputs, .. } = self;
        let outputs: String =
            outputs.iter().map(|path| format!("- type: identity\n  destination: {path}\n")).collect();
        let text = format!(
            "version: v2\n{servers}onboarding:\n  join_method: {}\n{token}{trust}{more}storage: {storage}\noutputs:\n{outputs}",
            method.as_str()
        );
        let file = self.directory.join("tbot.yaml");
        std::fs::write(&file, text).expect("written");
        file
    }

    fn command(&self) -> Command {
        let mut tbot = command(ours("tbot"));
        tbot.args(["start", "-c"]).arg(self.write()).arg("--oneshot").env_remove("KUBERNETES_TOKEN_PATH");
        tbot
    }

    fn run(&self) -> Outcome {
        run(&mut self.command())
    }
}

/// What it says, when it ends with 1 and says nothing else.
fn errors(outcome: Outcome) -> Vec<String> {
    assert_eq!(outcome.code(), 1, "{outcome:#?}");
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    let told = outcome.stderr.lines().filter_map(|line| line.strip_prefix("ERROR: "));
    told.map(str::to_owned).collect()
}

/// Every file below, with its content and mode.
fn tree(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let metadata = path.symlink_metadata().expect("is there");
        if metadata.is_dir() {
            found.extend(tree(&path));
        }
        let content = if metadata.is_file() { std::fs::read(&path).expect("ours") } else { vec![] };
        found.insert(path, (metadata.permissions().mode(), content));
    }
    found
}

/// A directory with an output that somebody relies on.
fn place() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    std::fs::create_dir(directory.path().join("output")).expect("made");
    for file in ["output/key", "output/identity"] {
        std::fs::write(directory.path().join(file), "relied on").expect("written");
    }
    directory
}

/// One thing that is wrong with a file, and what is said to it, without the file's name.
type Mistake = (fn(&mut Parts), fn(&Parts) -> Option<String>);

const MISTAKES: [Mistake; 11] = [
    (
        |parts| parts.servers.push_str("auth_server: 127.0.0.1:2\n"),
        |_| Some("auth_server: given together with proxy_server; keep one".to_owned()),
    ),
    (
        |parts| parts.more.push_str("  ca_paths: /x\n"),
        |_| Some("onboarding.ca_paths: unknown key; did you mean \"ca_path\"?".to_owned()),
    ),
    (
        |parts| parts.more.push_str("  nonsense: 1\n"),
        |_| Some("onboarding.nonsense: unknown key; known here: ".to_owned()),
    ),
    (
        |parts| parts.trust = "  ca_pins: 7\n".to_owned(),
        |_| Some("onboarding.ca_pins: expected a list, found a number".to_owned()),
    ),
    (
        |parts| parts.token = String::new(),
        |parts| {
            let told = "onboarding.token: missing; with this join method it is the name of the token";
            (parts.method != JoinMethod::Token).then(|| told.to_owned())
        },
    ),
    (
        |parts| {
            let (_, section, key) = other(parts.method);
            parts.more.push_str(&format!("  {section}: {{{key}: x}}\n"));
        },
        |parts| {
            let (_, section, _) = other(parts.method);
            let word = parts.method.as_str();
            Some(format!(
                "onboarding.{section}: this section does not belong to join_method: {word}; remove it"
            ))
        },
    ),
    (
        |parts| {
            if let Some((section, _)) = parts.section() {
                parts.more.push_str(&format!("  {section}: {{unheard_of: x}}\n"));
            }
        },
        |parts| parts.section().map(|(section, _)| format!("onboarding.{section}.unheard_of: unknown key; ")),
    ),
    (
        |parts| parts.outputs.push(parts.outputs[0].clone()),
        |parts| {
            let path = parts.place("output");
            let told = "is the storage or another output's destination already; give each its own";
            Some(format!("outputs[1].destination: {path} {told}"))
        },
    ),
    (
        |parts| parts.storage = "{type: directory, path: 7, symlinks: sometimes}".to_owned(),
        |_| Some("storage.symlinks: unknown value \"sometimes\"; expected one of ".to_owned()),
    ),
    (
        |parts| parts.servers.push_str("renewal_interval: soon\n"),
        |_| Some("renewal_interval: \"soon\" is not a duration".to_owned()),
    ),
    (
        |parts| parts.servers.push_str("diag_addr: here\n"),
        |_| Some("diag_addr: \"here\" is not an address and port".to_owned()),
    ),
];

/// The section of another method.
fn other(method: JoinMethod) -> (JoinMethod, &'static str, &'static str) {
    SECTIONS.into_iter().find(|(of, ..)| *of != method).expect("there are several")
}

/// Mistakes that stand in the place of one of those.
const ALONE: [Mistake; 6] = [
    (
        |parts| parts.servers = String::new(),
        |_| Some("proxy_server: either a proxy or an auth address must be set".to_owned()),
    ),
    (
        |parts| parts.trust = "  ca_pins: ['sha256:12']\n".to_owned(),
        |_| Some("onboarding.ca_pins[0]: \"sha256:12\" is not a CA pin".to_owned()),
    ),
    (
        |parts| parts.trust.push_str("  ca_path: /etc/ca.pem\n"),
        |_| Some("onboarding.ca_path: given together with ca_pins; keep one".to_owned()),
    ),
    (
        |parts| parts.token = "  token: {name: machines}\n".to_owned(),
        |_| Some("onboarding.token: expected text, found a mapping".to_owned()),
    ),
    (
        |parts| {
            if let Some((section, _)) = parts.section() {
                parts.more.push_str(&format!("  {section}: [x]\n"));
            }
        },
        |parts| {
            parts
                .section()
                .map(|(section, _)| format!("onboarding.{section}: expected a mapping, found a list"))
        },
    ),
    (
        |parts| parts.outputs = vec![parts.storage.clone()],
        |parts| Some(format!("outputs[0].destination: {} is the storage", parts.storage)),
    ),
];

/// Runs a file with these mistakes, and holds what is said to what should be.
fn told_of(method: JoinMethod, mistakes: &[Mistake]) {
    let directory = place();
    let mut parts = Parts::new(method, directory.path());
    let expected: Vec<String> = mistakes.iter().filter_map(|(_, told)| told(&parts)).collect();
    mistakes.iter().for_each(|(make, _)| make(&mut parts));
    let file = parts.write();
    let before = tree(directory.path());
    let outcome = parts.run();
    if expected.is_empty() {
        return;
    }
    let told = errors(outcome);
    let start = format!("{}:", file.display());
    for line in &told {
        let number = line.strip_prefix(&start).and_then(|rest| rest.split_once(": "));
        assert!(number.is_some_and(|(number, _)| number.parse::<u32>().is_ok()), "no line in {line}");
    }
    for expected in &expected {
        let count = told.iter().filter(|line| line.contains(expected)).count();
        assert_eq!(count, 1, "{}: {expected:?} in {told:#?}", method.as_str());
    }
    assert_eq!(told.len(), expected.len(), "{}: {told:#?}", method.as_str());
    assert_eq!(tree(directory.path()), before, "{}: nothing is made or changed", method.as_str());
}

#[test]
fn each_mistake_of_a_file_is_one_error_with_every_join_method() {
    for method in JoinMethod::all() {
        for mistake in MISTAKES.iter().chain(&ALONE) {
            told_of(method, std::slice::from_ref(mistake));
        }
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_with_every_join_method() {
    for method in JoinMethod::all() {
        told_of(method, &MISTAKES);
    }
}

#[test]
fn a_join_method_that_cannot_be_read_says_which_there_are_and_no_more() {
    let directory = place();
    let mut parts = Parts::new(JoinMethod::Token, directory.path());
    parts.token = String::new();
    for wrong in ["[tpm]", "kerberos", "ec2"] {
        parts.more = "  tpm: {device: /dev/tpmrm0}\n  gitlab: {}\n".to_owned();
        let text = std::fs::read_to_string(parts.write()).expect("written");
        let file = directory.path().join("other.yaml");
        std::fs::write(&file, text.replace("join_method: token", &format!("join_method: {wrong}")))
            .expect("written");
        let told = errors(run(command(ours("tbot")).args(["start", "--oneshot", "-c"]).arg(&file)));
        assert_eq!(told.len(), 1, "{wrong}: {told:#?}");
        for part in ["other.yaml:4: onboarding.join_method: ", "bound_keypair", "gcp"] {
            assert!(told[0].contains(part), "{wrong}: {part:?} is not in {told:#?}");
        }
    }
}

/// The one error that ends a start, which the files of this machine cause.
fn ends_with(parts: &Parts, outcome: Outcome, parts_of_it: &[&str]) {
    let told = errors(outcome);
    assert_eq!(told.len(), 1, "{}: {told:#?}", parts.method.as_str());
    for part in parts_of_it {
        assert!(told[0].contains(part), "{}: {part:?} is not in {told:#?}", parts.method.as_str());
    }
    for file in ["output/key", "output/identity"] {
        let kept = std::fs::read_to_string(parts.directory.join(file)).expect("is there");
        assert_eq!(kept, "relied on", "{}: {file} was overwritten", parts.method.as_str());
    }
}

/// With directories and a configuration that are the user's who will run it.
fn given_to_nobody(parts: &Parts) -> Command {
    let command = parts.command();
    std::fs::create_dir(parts.place("storage")).expect("made");
    for name in ["storage", "output", "tbot.yaml"] {
        chown(parts.place(name), Some(NOBODY), Some(NOBODY)).expect("ours");
    }
    command
}

#[test]
fn tokens_that_cannot_be_read_are_one_error_with_every_join_method() {
    for method in JoinMethod::all() {
        let directory = place();
        let mut parts = Parts::new(method, directory.path());
        let file = directory.path().join("token");
        parts.token = format!("  token: {}\n", file.display());
        let named = format!("cannot read the join token from {}: ", file.display());
        ends_with(&parts, parts.run(), &[&named, "No such file", "onboarding.token names the file"]);
        for empty in ["", " \n\t"] {
            std::fs::write(&file, empty).expect("written");
            ends_with(&parts, parts.run(), &[&named, "it is empty; onboarding.token names the file"]);
        }
        std::fs::remove_file(&file).expect("ours");
        std::fs::create_dir(&file).expect("made");
        ends_with(&parts, parts.run(), &[&named, "Is a directory"]);
        if !root() {
            continue;
        }
        // Somebody else's, who has not let the agent's user read it.
        let directory = place();
        let mut parts = Parts::new(method, directory.path());
        let file = directory.path().join("token");
        std::fs::write(&file, "machines\n").expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("ours");
        parts.token = format!("  token: {}\n", file.display());
        let named = format!("cannot read the join token from {}: ", file.display());
        let outcome = run(given_to_nobody(&parts).uid(NOBODY).gid(NOBODY));
        ends_with(&parts, outcome, &[&named, "Permission denied", "readable for the user that runs tbot"]);
    }
}

#[test]
fn places_that_are_not_its_own_are_one_error_with_every_join_method() {
    for method in JoinMethod::all() {
        let directory = place();
        let parts = Parts::new(method, directory.path());
        // A link on the way.
        std::fs::create_dir(parts.place("elsewhere")).expect("made");
        symlink(parts.place("elsewhere"), parts.place("storage")).expect("linked");
        let refused = ["leads through a symbolic link", "set `symlinks: insecure` for this destination"];
        ends_with(&parts, parts.run(), &refused);
        assert_eq!(tree(&directory.path().join("elsewhere")), BTreeMap::new(), "nothing is made behind it");
        // A file in the directory's place.
        std::fs::remove_file(parts.place("storage")).expect("ours");
        std::fs::write(parts.place("storage"), "a file").expect("written");
        ends_with(&parts, parts.run(), &["storage", "ot a directory"]);
        assert_eq!(std::fs::read_to_string(parts.place("storage")).expect("is there"), "a file");
        std::fs::remove_file(parts.place("storage")).expect("ours");
        if !root() {
            continue;
        }
        std::fs::create_dir(parts.place("storage")).expect("made");
        chown(parts.place("storage"), Some(NOBODY), Some(NOBODY)).expect("ours");
        ends_with(
            &parts,
            parts.run(),
            &["storage belongs to uid 65534", "run tbot as that user (sudo -u nobody"],
        );
        // One that cannot be made, because what is above it is another's.
        let directory = place();
        let mut parts = Parts::new(method, directory.path());
        parts.storage = parts.place("above/storage");
        std::fs::create_dir(parts.place("above")).expect("made");
        let outcome = run(given_to_nobody(&parts).uid(NOBODY).gid(NOBODY));
        ends_with(&parts, outcome, &["cannot create the directory", "above/storage", "ermission denied"]);
    }
}

/// Whom to believe comes before whatever is shown: neither token nor proof reaches somebody else.
#[test]
fn a_cluster_that_is_another_is_one_error_with_every_join_method() {
    let cluster = Cluster::start(Layout::OneProcess);
    let tpm = TpmMaker::new().map(|maker| maker.make());
    for method in JoinMethod::all() {
        let directory = place();
        let mut parts = Parts::new(method, directory.path());
        parts.servers = format!("proxy_server: {}\n", cluster.endpoint("proxy"));
        match (&tpm, method) {
            (Some(tpm), JoinMethod::Tpm) => {
                parts.more = format!("  tpm: {{device: 'unix:{}'}}\n", tpm.socket().display());
            }
            (None, JoinMethod::Tpm) => continue,
            _ => {}
        }
        let foreign = rcgen::generate_simple_self_signed(["elsewhere".to_owned()]).expect("a certificate");
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, foreign.cert.pem()).expect("written");
        ends_with(&parts, parts.run(), &["joining the cluster: ", "pin"]);
        parts.trust = format!("  ca_path: {}\n", file.display());
        ends_with(&parts, parts.run(), &["joining the cluster: ", "pin"]);
        let named = format!("cannot use onboarding.ca_path {}: ", file.display());
        std::fs::write(&file, foreign.signing_key.public_key_pem()).expect("written");
        ends_with(&parts, parts.run(), &[&named, "it holds no certificate"]);
        std::fs::remove_file(&file).expect("ours");
        ends_with(&parts, parts.run(), &[&named, "No such file"]);
    }
    let failed = cluster.tctl(&["events", "ls", "--type=bot.join", "--format=json"]).ok();
    assert!(!failed.contains("machines"), "nothing was sent: {failed}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in [
        &["start", "--no-such-flag"][..],
        &["start", "--join-method"],
        &["tpm", "identify", "--endorsement-key", "dsa"],
        &["keypair", "create", "--nothing"],
    ] {
        let outcome = run(command(ours("tbot")).args(arguments));
        assert_eq!((outcome.code(), outcome.stdout.as_str()), (2, ""), "{outcome:#?}");
        assert!(outcome.stderr.contains("error: "), "{outcome:#?}");
    }
}
