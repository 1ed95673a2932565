//! The file as it is written. Every key of the incumbent's v2 format that Postern acts on; others that are known
//! are refused by name.

use access::resource::token::Provider;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
    /// Outputs too: newer files list them here.
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
    /// For `gitlab`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gitlab: Option<Gitlab>,
    /// For `terraform_cloud`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terraform: Option<Terraform>,
    /// `sha256:...` pins of the cluster's host authority, as `tctl status` shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca_pins: Vec<String>,
    /// A PEM file with the authority that signed the server's certificate; instead of pins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_path: Option<String>,
}

/// How the agent proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinMethod {
    /// By knowing a one-time token.
    Token,
    /// By a key that it keeps in its storage, and with which it comes back after any time away.
    BoundKeypair,
    /// As a job of GitHub Actions.
    Github,
    /// As a job of GitLab CI.
    Gitlab,
    /// As a job of CircleCI.
    Circleci,
    /// As a run of Spacelift.
    Spacelift,
    /// As a run of HCP Terraform or Terraform Enterprise.
    TerraformCloud,
    /// As a step of Bitbucket Pipelines.
    Bitbucket,
    /// As a job of Azure DevOps.
    AzureDevops,
    /// As a service account of Kubernetes.
    Kubernetes,
}

impl JoinMethod {
    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        use JoinMethod::{
            AzureDevops, Bitbucket, Circleci, Github, Gitlab, Kubernetes, Spacelift, TerraformCloud,
        };
        let platforms =
            [Github, Gitlab, Circleci, Spacelift, TerraformCloud, Bitbucket, AzureDevops, Kubernetes];
        [Self::Token, Self::BoundKeypair].into_iter().chain(platforms)
    }

    /// The platform that vouches for the agent, where one does.
    pub fn provider(self) -> Option<Provider> {
        Some(match self {
            Self::Token | Self::BoundKeypair => return None,
            Self::Github => Provider::Github,
            Self::Gitlab => Provider::Gitlab,
            Self::Circleci => Provider::Circleci,
            Self::Spacelift => Provider::Spacelift,
            Self::TerraformCloud => Provider::TerraformCloud,
            Self::Bitbucket => Provider::Bitbucket,
            Self::AzureDevops => Provider::AzureDevops,
            Self::Kubernetes => Provider::Kubernetes,
        })
    }

    /// The word used in files and flags.
    pub fn as_str(self) -> &'static str {
        match (self, self.provider()) {
            (_, Some(provider)) => provider.as_str(),
            (Self::BoundKeypair, _) => "bound_keypair",
            _ => "token",
        }
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

/// For join method `bound_keypair`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundKeypair {
    /// The secret that binds the agent's key to the token at the first join, or the absolute path of a file that holds
    /// it. Needed once, and not at all for a key that the token names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_secret: Option<String>,
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
    /// Only `identity`.
    #[serde(rename = "type")]
    pub kind: OutputKind,
    /// What it is called in health, metrics and logs; `output-1` for the first, and so on, unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is written; no two outputs may share a directory.
    pub destination: Destination,
    /// Roles of the certificates; all of the bot's unless set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Only the bot's own cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Whether `ssh_config` and `known_hosts` are written; on unless set.
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

/// Kinds of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// Credentials for `tsh` and OpenSSH.
    Identity,
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

const NO_METHOD: &str = "Postern does not know this join method yet; bound_keypair works everywhere";
const NOT_THIS_PRODUCT: &str =
    "this kind of output is not part of Postern, which is about SSH; use type: identity";
const NO_SPIFFE: &str = "Postern issues no identities for workloads, only for SSH; use type: identity";
const NO_SKIPPING: &str =
    "Postern never skips the verification of a server; give onboarding.ca_pins (tctl status shows the pin)";

/// Keys of the incumbent that Postern does not act on.
pub static REFUSED: Refusals = Refusals::new(&[
    refuse("insecure", NO_SKIPPING).unless_off(),
    refuse("fips", "there is no FIPS build of Postern").unless_off(),
    refuse("onboarding.azure", NO_METHOD),
    refuse("outputs.type", NOT_THIS_PRODUCT).value("application"),
    refuse("outputs.type", NOT_THIS_PRODUCT).value("database"),
    refuse("outputs.type", NOT_THIS_PRODUCT).value("kubernetes"),
    refuse("services.type", NOT_THIS_PRODUCT).value("application"),
    refuse("services.type", NOT_THIS_PRODUCT).value("application-tunnel"),
    refuse("services.type", NOT_THIS_PRODUCT).value("database"),
    refuse("services.type", NOT_THIS_PRODUCT).value("database-tunnel"),
    refuse("services.type", NOT_THIS_PRODUCT).value("kubernetes"),
    refuse("services.type", NO_SPIFFE).value("spiffe-workload-api"),
    refuse("outputs.type", NO_SPIFFE).value("spiffe-svid"),
    refuse("outputs.app_name", NOT_THIS_PRODUCT),
    refuse("outputs.service", NOT_THIS_PRODUCT),
    refuse("outputs.database", NOT_THIS_PRODUCT),
    refuse("outputs.username", NOT_THIS_PRODUCT),
    refuse("outputs.kubernetes_cluster", NOT_THIS_PRODUCT),
    refuse("outputs.allow_reissue", "the certificates of an output are never exchanged for others"),
]);
