//! The file as it is written. Every key of the incumbent's v2 format that Postern acts on; others that are known
//! are refused by name.

use access::resource::token;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use yaml::{Refusals, refuse};

/// `tbot.yaml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Format of the file; only `v2`.
    pub version: Option<Version>,
    /// How a new instance joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onboarding: Option<Onboarding>,
    /// Where the agent keeps its own identity; `/var/lib/teleport/bot` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Destination>,
    /// What the agent writes for others.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// Outputs too: newer files list them here. Those of type `sshd` belong here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Output>,
    /// Log more.
    #[serde(default)]
    pub debug: bool,
    /// Address of the auth service, `host:port`. Give this or `proxy_server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_server: Option<String>,
    /// Address of a proxy, `host:port`. Give this or `auth_server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_server: Option<String>,
    /// Life of the certificates, like `1h`; one hour unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ttl: Option<String>,
    /// Newer name of `certificate_ttl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ttl: Option<String>,
    /// Time between renewals, like `20m`; twenty minutes unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_interval: Option<String>,
    /// Write everything once, then end.
    #[serde(default)]
    pub oneshot: bool,
    /// Only `false`: there is no FIPS build.
    #[serde(default)]
    pub fips: bool,
    /// Where health and metrics are served, `address:port`; nowhere unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diag_addr: Option<String>,
}

/// Format of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// The format before outputs had types; not read.
    V1,
    /// The one format that is read.
    V2,
}

/// How a new instance joins.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Onboarding {
    /// The join token, or the absolute path of a file that holds it. With other methods than `token` its name is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How the agent proves itself; `token` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_method: Option<JoinMethod>,
    /// For `bound_keypair`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_keypair: Option<BoundKeypair>,
    /// For `tpm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Tpm>,
    /// For `gitlab`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitlab: Option<Gitlab>,
    /// For `terraform_cloud`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terraform: Option<Terraform>,
    /// For `azure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
    /// `sha256:...` pins of the cluster's host authority, as `tctl status` shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca_pins: Vec<String>,
    /// A PEM file with the authority that signed the server's certificate; instead of pins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_path: Option<String>,
}

/// How the agent proves itself: a word of `access`, which has the one list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinMethod(pub token::JoinMethod);

impl Serialize for JoinMethod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for JoinMethod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        token::JoinMethod::find(&word).map(Self).ok_or_else(|| {
            let known: Vec<&str> = token::JoinMethod::all().map(token::JoinMethod::as_str).collect();
            D::Error::custom(format!("unknown join method {word:?}; known are {}", known.join(", ")))
        })
    }
}

impl JsonSchema for JoinMethod {
    fn schema_name() -> Cow<'static, str> {
        "JoinMethod".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let word = |method: token::JoinMethod| {
            let meaning = format!("{}.", method.meaning());
            serde_json::json!({"type": "string", "const": method.as_str(), "description": meaning})
        };
        let words: Vec<_> = token::JoinMethod::all().map(word).collect();
        schemars::json_schema!({"description": "How the agent proves itself.", "oneOf": words})
    }
}

/// For join method `gitlab`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gitlab {
    /// The variable that the job's ID token is in; `TBOT_GITLAB_JWT` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env_var_name: Option<String>,
}

/// For join method `terraform_cloud`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terraform {
    /// With `X`, the ID token is in `TFC_WORKLOAD_IDENTITY_TOKEN_X`; `TFC_WORKLOAD_IDENTITY_TOKEN` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience_tag: Option<String>,
}

/// For join method `azure`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Azure {
    /// The client id of the managed identity that asks; needed where the machine has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

/// For join method `bound_keypair`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundKeypair {
    /// The secret that binds the agent's key to the token at the first join, or the absolute path of a file that holds
    /// it. Needed once, and not at all for a key that the token names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_secret: Option<String>,
}

/// For join method `tpm`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tpm {
    /// Where the TPM is: a device, `unix:/path` or `tcp:host:port` of a simulator; `/dev/tpmrm0` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Which of its endorsement keys is shown; `rsa` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endorsement_key: Option<EndorsementKey>,
}

/// An endorsement key of a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EndorsementKey {
    /// RSA of 2048 bits.
    Rsa,
    /// ECC on P-256.
    Ecc,
}

impl From<EndorsementKey> for join::tpm::Algorithm {
    fn from(key: EndorsementKey) -> Self {
        match key {
            EndorsementKey::Rsa => Self::Rsa2048,
            EndorsementKey::Ecc => Self::EccP256,
        }
    }
}

/// Where files are written.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Destination {
    /// The path of a directory.
    Path(String),
    /// A destination with settings.
    Settings(DestinationSettings),
}

/// A destination with settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationSettings {
    /// `directory`, `kubernetes_secret` or `memory`.
    #[serde(rename = "type")]
    pub kind: DestinationKind,
    /// For `directory`: its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// For `directory`: whether symbolic links may lead to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlinks: Option<Symlinks>,
    /// For `directory`: whether `readers` are let in by access control lists. With `try`, the default, and `required`, a list
    /// on the directory may also let others write to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acls: Option<Acls>,
    /// For `directory`s of outputs: who may read what is written, beside the agent's user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<Reader>,
    /// For `kubernetes_secret`: the name of the Secret, which is made if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For `kubernetes_secret`: its namespace; unless set that of the variable `POD_NAMESPACE`, or of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// For `kubernetes_secret`: labels that it gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For `kubernetes_secret`: the address of the API, `https://host:port`; unless set that of the pod's cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<String>,
    /// For `kubernetes_secret`: the file with the token that is shown to the API; unless set that of the pod's service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_path: Option<String>,
    /// For `kubernetes_secret`: the file with the authority of the API's certificate, PEM; unless set that of the pod's service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_path: Option<String>,
}

impl DestinationSettings {
    /// With nothing but its kind.
    pub fn of(kind: DestinationKind) -> Self {
        Self {
            kind,
            path: None,
            symlinks: None,
            acls: None,
            readers: Vec::new(),
            name: None,
            namespace: None,
            labels: BTreeMap::new(),
            api_server: None,
            token_path: None,
            ca_path: None,
        }
    }
}

/// A user or a group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reader {
    /// A user, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A group, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Kinds of destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DestinationKind {
    /// A directory on disk.
    Directory,
    /// A Secret of Kubernetes; for outputs.
    KubernetesSecret,
    /// The process; gone with it.
    Memory,
}

/// Whether symbolic links may lead to a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Symlinks {
    /// No; an error where the kernel cannot tell.
    Secure,
    /// No, where the kernel can tell. The default.
    TrySecure,
    /// Yes.
    Insecure,
}

/// POSIX access control lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Acls {
    /// Not set, and not accepted where they let others write.
    Off,
    /// Set where the file system has them.
    Try,
    /// Set; an error where the file system has none.
    Required,
}

/// What the agent writes for others.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// What it is: files for SSH, an SSH server that is looked after, files or a socket for the identities of workloads.
    #[serde(rename = "type")]
    pub kind: OutputKind,
    /// What it is called in health, metrics and logs; `output-1` for the first, and so on, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is written; no two outputs may share a directory. A service with `listen` has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// Roles of the certificates; all of the bot's unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// For `ssh_host`: names and addresses of the server, as clients call it; at least one. For `sshd`: further ones. The bot's
    /// roles need the rule `{resources: [host_cert], verbs: [create]}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// For `sshd`: the server that is looked after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sshd: Option<Sshd>,
    /// For `identity`: only the bot's own cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// For `spiffe-svid` and `workload-identity-x509` and `-jwt`: which workload it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svid: Option<Svid>,
    /// For `spiffe-svid` and `workload-identity-x509`: JWT-SVIDs beside the X.509-SVID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwts: Vec<Jwt>,
    /// For `workload-identity-jwt`: for whom the JWT-SVID is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// For `spiffe-workload-api` and `workload-identity-api`: the socket, `unix:///path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// For the same: which workloads there are, and which processes they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub svids: Vec<ServedSvid>,
    /// For `identity`: whether `ssh_config` and `known_hosts` are written; on unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_config: Option<SshConfig>,
    /// Life of its certificates, like `1h`; that of the file unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_ttl: Option<String>,
    /// Time between its renewals, like `20m`; that of the file unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_interval: Option<String>,
    /// What is done after each renewal, in this order. A hook that fails is told and fails nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_renew: Vec<Hook>,
}

/// One of `exec`, `pid_file` and `systemd_reload`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// A program by its absolute path, and its arguments. `TBOT_OUTPUT` and `TBOT_DESTINATION` tell it what was renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// A file with the number of a process that gets `signal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<String>,
    /// The signal for the process of `pid_file`; `HUP` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// A unit that is reloaded, by `systemctl reload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd_reload: Option<String>,
    /// It is ended after this long, like `30s`, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// A workload.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Svid {
    /// The path of its SPIFFE ID, like `/svc/web`. A role of the bot allows it by `allow.spiffe`.
    pub path: String,
    /// Tells several identities of one workload apart; in the audit log too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Names beside the SPIFFE ID in X.509-SVIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sans: Option<Sans>,
}

/// Names beside a SPIFFE ID.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sans {
    /// DNS names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip: Vec<String>,
}

/// A JWT-SVID in a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// For whom it is.
    pub audience: String,
    /// The file in the destination.
    pub file_name: String,
}

/// A workload that asks for its identity itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServedSvid {
    /// The path of its SPIFFE ID, like `/svc/web`.
    pub path: String,
    /// Tells several identities of one workload apart; in the audit log too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Names beside the SPIFFE ID in X.509-SVIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sans: Option<Sans>,
    /// Which processes are this workload: those that fit one of these. Without any, every process that can connect is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<WorkloadRule>,
}

/// Which processes are a workload.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadRule {
    /// By what the kernel says of a process.
    pub unix: UnixRule,
}

/// All that is given must fit, and something must be given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnixRule {
    /// The user, by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The caller's effective primary group, by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The process; not without `uid`, because numbers of processes are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}

/// Kinds of outputs and services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// Credentials for `tsh` and OpenSSH.
    Identity,
    /// Host key, host certificate and user authorities for a stock OpenSSH server.
    #[serde(rename = "ssh_host")]
    SshHost,
    /// Looks after a stock OpenSSH server: the files of `ssh_host`, a revocation list, its configuration, its place among the
    /// nodes of the cluster. Needs root.
    Sshd,
    /// An X.509-SVID of a workload, and JWT-SVIDs of it.
    SpiffeSvid,
    /// The newer name of `spiffe-svid`.
    #[serde(rename = "workload-identity-x509")]
    WorkloadIdentityX509,
    /// A JWT-SVID of a workload.
    WorkloadIdentityJwt,
    /// The SPIFFE Workload API, by which workloads ask for their identities.
    SpiffeWorkloadApi,
    /// The newer name of `spiffe-workload-api`.
    WorkloadIdentityApi,
}

impl OutputKind {
    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::SshHost => "ssh_host",
            Self::Sshd => "sshd",
            Self::SpiffeSvid => "spiffe-svid",
            Self::WorkloadIdentityX509 => "workload-identity-x509",
            Self::WorkloadIdentityJwt => "workload-identity-jwt",
            Self::SpiffeWorkloadApi => "spiffe-workload-api",
            Self::WorkloadIdentityApi => "workload-identity-api",
        }
    }
}

/// A stock OpenSSH server. Paths have no blanks, quotes or wildcards in them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sshd {
    /// How the server is reloaded: one of `exec`, `pid_file` and `systemd_reload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Hook>,
    /// The name by which clients call it; the machine's unless set. `<hostname>` and `<hostname>.<cluster>` stand in the host
    /// certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Where a proxy reaches it, `host:port`, the host being one of its names; port 22 of `hostname` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its labels in the cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The accounts that certificates of the cluster may log in to; each that a certificate names, unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
    /// Whether it is among the nodes of the cluster; yes unless set. The bot's roles need the rule `{resources: [node], verbs:
    /// [create, update]}`. A server that is not among them hears of locks all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<bool>,
    /// The file that is written for sshd; `/etc/ssh/sshd_config.d/10-postern.conf` unless set. `config` has to include it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
    /// The configuration that sshd runs with; `/etc/ssh/sshd_config` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The server's program, which checks each configuration before it is put in place; `/usr/sbin/sshd` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SshConfig {
    /// Written.
    On,
    /// Not written.
    Off,
}

const NOT_THIS_PRODUCT: &str =
    "this kind of output is not part of Postern, which is about SSH; use type: identity";
const NO_SELECTOR: &str =
    "Postern has no workload_identity resources; name the workload here, by svid.path or svids[].path";
const NO_FEDERATION: &str = "trust domains of others are not known to Postern yet";
const NO_SKIPPING: &str =
    "Postern never skips the verification of a server; give onboarding.ca_pins (tctl status shows the pin)";

/// Keys of the incumbent that Postern does not act on.
pub static REFUSED: Refusals = Refusals::new(&[
    refuse("insecure", NO_SKIPPING).unless_off(),
    refuse("fips", "there is no FIPS build of Postern").unless_off(),
    refuse("outputs.type", NOT_THIS_PRODUCT).value("application"),
    refuse("outputs.type", NOT_THIS_PRODUCT).value("database"),
    refuse("outputs.type", NOT_THIS_PRODUCT).value("kubernetes"),
    refuse("outputs.type", NOT_THIS_PRODUCT).value("kubernetes/v2"),
    refuse("services.type", NOT_THIS_PRODUCT).value("application"),
    refuse("services.type", NOT_THIS_PRODUCT).value("application-tunnel"),
    refuse("services.type", NOT_THIS_PRODUCT).value("database"),
    refuse("services.type", NOT_THIS_PRODUCT).value("database-tunnel"),
    refuse("services.type", NOT_THIS_PRODUCT).value("kubernetes"),
    refuse("services.type", NOT_THIS_PRODUCT).value("kubernetes/v2"),
    refuse("outputs.selector", NO_SELECTOR),
    refuse("services.selector", NO_SELECTOR),
    refuse("outputs.include_federated_trust_bundles", NO_FEDERATION).unless_off(),
    refuse("services.include_federated_trust_bundles", NO_FEDERATION).unless_off(),
    refuse("outputs.app_name", NOT_THIS_PRODUCT),
    refuse("outputs.service", NOT_THIS_PRODUCT),
    refuse("outputs.database", NOT_THIS_PRODUCT),
    refuse("outputs.username", NOT_THIS_PRODUCT),
    refuse("outputs.kubernetes_cluster", NOT_THIS_PRODUCT),
    refuse("outputs.allow_reissue", "the certificates of an output are never exchanged for others"),
]);
