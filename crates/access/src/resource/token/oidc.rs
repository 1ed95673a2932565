//! The methods by which a platform vouches for its jobs and machines, by an ID token (OpenID Connect) or by what it says when
//! it is asked: one table for all of them (fact sheet, section 4.2), and what a token resource says for each.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;

mod table;

/// A platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// GitHub Actions, also of GitHub Enterprise.
    Github,
    /// GitLab CI, also of one's own.
    Gitlab,
    /// CircleCI.
    Circleci,
    /// Spacelift.
    Spacelift,
    /// HCP Terraform and Terraform Enterprise.
    TerraformCloud,
    /// Bitbucket Pipelines.
    Bitbucket,
    /// Azure DevOps.
    AzureDevops,
    /// Service accounts of Kubernetes, by the keys of the cluster.
    Kubernetes,
    /// Machines of Google Compute Engine.
    Gcp,
    /// Principals of AWS. No ID token: STS says who signed a request.
    Iam,
    /// Machines of Azure. No ID token: what Azure signed says which one, and its Resource Manager where that is.
    Azure,
    /// Deployments of env0.
    Env0,
}

/// What the table says of a provider.
pub struct Table {
    /// The method's word.
    pub word: &'static str,
    /// Who joins so, after "as".
    pub joiner: &'static str,
    /// Texts beside the rules.
    pub settings: &'static [Setting],
    /// What may stand in a rule.
    pub fields: &'static [Field],
    /// Of each of these groups a rule has at least one field.
    pub needs: &'static [&'static [&'static str]],
    /// How long an ID token may live, in seconds.
    pub longest_life: i64,
}

/// A text beside the rules.
pub struct Setting {
    /// Its key.
    pub name: &'static str,
    /// Whether it has to be there.
    pub required: bool,
    /// What it may look like.
    pub form: Form,
}

/// What a text may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A host name, perhaps with a port; no scheme and no path.
    Host,
    /// Letters, digits, `-` and `_`.
    Word,
    /// An address with `https://`.
    Url,
    /// Anything printable.
    Text,
    /// Certificates in PEM.
    Certificates,
}

/// What may stand in a rule.
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// Where in the ID token its value is.
    pub claim: Claim,
    /// When it fits.
    pub compare: Compare,
}

/// Where in an ID token a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A claim that is a text or a flag.
    Text(&'static str),
    /// One of the texts in a claim that is a list.
    Among(&'static str),
    /// A text inside of other claims (RFC 6901).
    At(&'static str),
    /// `namespace:name` of `system:serviceaccount:namespace:name` in `sub`.
    ServiceAccount,
    /// The nth part of `p://organization/project/pipeline` in `sub`.
    PipelinePart(usize),
}

/// When a value fits a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// It is the same.
    Exact,
    /// It fits a pattern with `*` and `?`.
    Glob,
    /// It does where the token says `enable_glob_matching`, otherwise it is the same.
    GlobIfEnabled,
    /// `true` or `false`.
    Flag,
    /// It is the same but for upper and lower case.
    AnyCase,
    /// It is one of a list.
    OneOf,
    /// It is one of a list but for upper and lower case.
    OneOfAnyCase,
    /// It is one of a list, or a zone of a region in it: `us-west1-b` of `us-west1`.
    Place,
}

impl Compare {
    /// Whether a rule has a list there.
    pub fn is_list(self) -> bool {
        matches!(self, Self::OneOf | Self::OneOfAnyCase | Self::Place)
    }
}

/// Settings of such a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// The platform.
    pub provider: Provider,
    /// By the table.
    pub settings: BTreeMap<&'static str, String>,
    /// Whether the fields that can be patterns are.
    pub globs: bool,
    /// The issuer's keys (RFC 7517), where they are not to be fetched; with Kubernetes, where its API is not to be asked.
    pub static_jwks: Option<String>,
    /// Who issues the tokens of a Kubernetes cluster, where its keys are to be fetched.
    pub remote: Option<String>,
    /// Any one of them lets the joiner in; all of its fields must fit. Never empty.
    pub allow: Vec<Rule>,
}

/// The fields of a rule.
pub type Rule = BTreeMap<&'static str, Wanted>;

/// What a rule wants of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Wanted {
    /// This; flags are the words `true` and `false`.
    One(String),
    /// Any one of these.
    AnyOf(Vec<String>),
}

impl Wanted {
    /// What is wanted.
    pub fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::AnyOf(many) => many,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(one) => f.write_str(one),
            Self::AnyOf(many) => f.write_str(&many.join(", ")),
        }
    }
}

impl Provider {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Self::Github,
        Self::Gitlab,
        Self::Circleci,
        Self::Spacelift,
        Self::TerraformCloud,
        Self::Bitbucket,
        Self::AzureDevops,
        Self::Kubernetes,
        Self::Gcp,
        Self::Iam,
        Self::Azure,
        Self::Env0,
    ];

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        self.table().word
    }

    /// Its row.
    pub fn table(self) -> &'static Table {
        table::of(self)
    }
}

impl Oidc {
    /// Who must have issued an ID token; none where the keys alone say it.
    pub fn issuer(&self) -> Option<String> {
        let setting = |name: &str| self.settings.get(name).map(String::as_str);
        Some(match self.provider {
            Provider::Github => match (setting("enterprise_server_host"), setting("enterprise_slug")) {
                (Some(host), _) => format!("https://{host}/_services/token"),
                (None, Some(slug)) => format!("https://token.actions.githubusercontent.com/{slug}"),
                (None, None) => "https://token.actions.githubusercontent.com".to_owned(),
            },
            Provider::Gitlab => format!("https://{}", setting("domain").unwrap_or("gitlab.com")),
            Provider::Circleci => {
                format!("https://oidc.circleci.com/org/{}", setting("organization_id").unwrap_or_default())
            }
            Provider::Spacelift => format!("https://{}", setting("hostname").unwrap_or_default()),
            Provider::TerraformCloud => {
                format!("https://{}", setting("hostname").unwrap_or("app.terraform.io"))
            }
            Provider::Bitbucket => setting("identity_provider_url").unwrap_or_default().to_owned(),
            Provider::AzureDevops => {
                format!("https://vstoken.dev.azure.com/{}", setting("organization_id").unwrap_or_default())
            }
            Provider::Kubernetes => return self.remote.clone(),
            Provider::Gcp => "https://accounts.google.com".to_owned(),
            Provider::Env0 => "https://login.app.env0.com/".to_owned(),
            Provider::Iam | Provider::Azure => return None,
        })
    }

    /// Whom an ID token must be for.
    pub fn audience(&self, cluster: &str) -> String {
        let setting = |name: &str| self.settings.get(name).cloned();
        let given = match self.provider {
            Provider::Circleci => setting("organization_id"),
            Provider::Spacelift => setting("hostname"),
            Provider::TerraformCloud | Provider::Bitbucket | Provider::Kubernetes => setting("audience"),
            Provider::AzureDevops => Some("api://AzureADTokenExchange".to_owned()),
            // The one that env0 puts into every token.
            Provider::Env0 => Some(setting("audience").unwrap_or_else(|| "https://prod.env0.com".to_owned())),
            Provider::Github | Provider::Gitlab | Provider::Gcp | Provider::Iam | Provider::Azure => None,
        };
        given.unwrap_or_else(|| cluster.to_owned())
    }
}

impl Serialize for Oidc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.settings {
            map.serialize_entry(name, value)?;
        }
        if self.globs {
            map.serialize_entry("enable_glob_matching", &true)?;
        }
        match (&self.static_jwks, self.provider) {
            (None, Provider::Kubernetes) if self.remote.is_some() => {
                map.serialize_entry("type", "oidc")?;
                map.serialize_entry("oidc", &json!({"issuer": self.remote}))?;
            }
            (Some(jwks), Provider::Kubernetes) => {
                map.serialize_entry("type", "static_jwks")?;
                map.serialize_entry("static_jwks", &json!({"jwks": jwks}))?;
            }
            (Some(jwks), _) => map.serialize_entry("static_jwks", jwks)?,
            (None, Provider::Kubernetes) => map.serialize_entry("type", "in_cluster")?,
            (None, _) => {}
        }
        map.serialize_entry("allow", &self.allow)?;
        map.end()
    }
}
