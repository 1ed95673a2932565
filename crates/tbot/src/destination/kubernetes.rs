//! A Secret of Kubernetes: one key for each file, changed in one request (server-side apply), made if it is not there.
//!
//! Nobody's fields are taken from them: a Secret whose keys somebody else manages is left as it is, and that is told.

use super::{DestinationError, FileSet};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use transport::https::{Client, FetchError, Question, Verb};
use zeroize::Zeroizing;

/// Who the agent is among those that manage fields.
const MANAGER: &str = "tbot";
/// Where pods find what they need.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// More of a refusal is not told.
const LONGEST: usize = 300;

/// A Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Its namespace; absent for that of `POD_NAMESPACE`, or of the pod.
    pub namespace: Option<String>,
    /// Labels that it gets.
    pub labels: BTreeMap<String, String>,
    /// How the API is reached.
    pub api: Api,
}

/// How the API is reached. What is absent is where pods find it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Api {
    /// `https://host:port`.
    pub server: Option<String>,
    /// The file with the agent's token. Read each time: it is changed under us.
    pub token: Option<PathBuf>,
    /// The file with the authority of the API's certificate.
    pub authority: Option<PathBuf>,
}

/// Everything that a request needs.
struct Reached {
    url: String,
    token: Zeroizing<String>,
    client: Client,
}

impl Secret {
    /// Whether the API could be asked. Asks nothing.
    pub fn prepare(&self) -> Result<(), DestinationError> {
        self.reach().map(drop)
    }

    /// Replaces the whole set.
    pub async fn publish(&self, files: &FileSet) -> Result<(), DestinationError> {
        let (namespace, Reached { url, token, client }) = (self.namespace()?, self.reach()?);
        let data = files.iter().map(|(name, contents)| (name.as_str(), Encoded(contents)));
        let wanted = Wanted {
            api_version: "v1",
            kind: "Secret",
            metadata: Metadata { name: &self.name, namespace: &namespace, labels: &self.labels },
            r#type: "Opaque",
            data: data.collect(),
        };
        let body = serde_json::to_vec(&wanted).map(Zeroizing::new);
        let body = body.map_err(|error| self.wrong(error.to_string(), ""))?;
        let question = Question { verb: Verb::Apply(&body), bearer: Some(&token), ..Question::get(&url) };
        client.ask(question).await.map(drop).map_err(|error| self.refused(&error))
    }

    fn namespace(&self) -> Result<String, DestinationError> {
        let found = self.namespace.clone().or_else(|| variable("POD_NAMESPACE")).or_else(|| {
            let text = std::fs::read_to_string(Path::new(ACCOUNT).join("namespace")).ok()?;
            Some(text.trim().to_owned())
        });
        let found = found.filter(|name| is_name(name));
        found.ok_or_else(|| {
            self.wrong(
                "its namespace is not known".to_owned(),
                "set `namespace`, or the variable POD_NAMESPACE",
            )
        })
    }

    fn reach(&self) -> Result<Reached, DestinationError> {
        let (name, namespace) = (&self.name, self.namespace()?);
        let server = self.api.server.clone().or_else(server_of_pod).ok_or_else(|| {
            let step = "run tbot in a pod, or set `api_server`, `token_path` and `ca_path`";
            self.wrong("the address of the API is not known".to_owned(), step)
        })?;
        let read = |given: &Option<PathBuf>, default: &str, key: &str| {
            let path = given.clone().unwrap_or_else(|| Path::new(ACCOUNT).join(default));
            std::fs::read_to_string(&path).map(Zeroizing::new).map_err(|error| {
                self.wrong(
                    format!("cannot read {}: {error}", path.display()),
                    &format!("`{key}` names the file"),
                )
            })
        };
        let authority = read(&self.api.authority, "ca.crt", "ca_path")?;
        let blocks = identity::pem::blocks(&authority)
            .map_err(|error| self.wrong(error.to_string(), "see `ca_path`"))?;
        let authorities: Vec<Vec<u8>> = blocks.iter().map(|block| block.der.to_vec()).collect();
        let token = Zeroizing::new(read(&self.api.token, "token", "token_path")?.trim().to_owned());
        let url = format!(
            "{}/api/v1/namespaces/{namespace}/secrets/{name}?fieldManager={MANAGER}&fieldValidation=Strict",
            server.trim_end_matches('/')
        );
        Ok(Reached { url, token, client: Client::of(&authorities) })
    }

    fn refused(&self, error: &FetchError) -> DestinationError {
        let FetchError::Status { status, said, .. } = error else {
            return self.wrong(error.to_string(), "");
        };
        let step = match status {
            401 => "the token of the service account is not accepted: see `token_path`",
            403 => "allow the service account `patch` and `create` on secrets in that namespace",
            404 => "create the namespace first",
            409 => "somebody else manages these keys: choose another name, or delete the Secret",
            _ => "",
        };
        let message =
            serde_json::from_slice::<Refusal>(&said.0).map(|refusal| refusal.message).unwrap_or_default();
        let message: String = message.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
        self.wrong(format!("the API answered {status} {message}").trim_end().to_owned(), step)
    }

    /// Refused with the configuration.
    pub(super) fn not_for_storage(&self) -> DestinationError {
        self.wrong("it is for outputs".to_owned(), "choose a directory for the storage")
    }

    fn wrong(&self, reason: String, step: &str) -> DestinationError {
        let reason = if step.is_empty() { reason } else { format!("{reason}; {step}") };
        DestinationError::Kubernetes { secret: self.to_string(), reason }
    }
}

impl std::fmt::Display for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "kubernetes_secret ")?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// Whether the API takes this for the name of a namespace or a Secret (RFC 1123).
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=253).contains(&text.len())
        && text.chars().all(|c| plain(c) || matches!(c, '-' | '.'))
        && text.starts_with(plain)
        && text.ends_with(plain)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn server_of_pod() -> Option<String> {
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}

/// What the Secret is to be like.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wanted<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    r#type: &'static str,
    data: BTreeMap<&'a str, Encoded<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

/// As the API takes bytes.
struct Encoded<'a>(&'a Zeroizing<Vec<u8>>);

impl Serialize for Encoded<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(self.0.as_slice())))
    }
}

/// What the API says with a refusal (`Status`).
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_are_those_of_the_api() {
        for name in ["a", "tbot-identity", "a.b-c.9"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "A", "-a", "a-", "a/b", "a?b", "a b", "..", "a\n", &"a".repeat(254)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
