//! Where an agent gets the ID token with which its platform vouches for it (fact sheet, section 4.2). Asked for each time:
//! such tokens live for minutes.

pub mod aws;
pub mod azure;

use super::AgentError;
use crate::config::Method;
use access::ClusterName;
use access::resource::token::Provider;
use serde::Deserialize;
use std::path::PathBuf;
use transport::https::{Client, FetchError, Question, Verb, ask_machine};
use zeroize::Zeroizing;

/// `metadata.google.internal`, whose address is the same on every machine.
const METADATA: &str = "169.254.169.254";
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Where one is.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// In an environment variable.
    Variable(String),
    /// In a file.
    File(PathBuf),
    /// The metadata server of the machine, at this host.
    Metadata(String),
    /// Nowhere: there is none.
    None,
    /// An address that gives it for a bearer token, both in environment variables.
    Server { url: &'static str, bearer: &'static str, is_azure: bool },
}

fn source(
    provider: Provider,
    variable: Option<&str>,
    environment: impl Fn(&str) -> Option<String>,
) -> Source {
    let named = |default: &str| Source::Variable(variable.unwrap_or(default).to_owned());
    match provider {
        Provider::Github => Source::Server {
            url: "ACTIONS_ID_TOKEN_REQUEST_URL",
            bearer: "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
            is_azure: false,
        },
        Provider::AzureDevops => {
            Source::Server { url: "SYSTEM_OIDCREQUESTURI", bearer: "SYSTEM_ACCESSTOKEN", is_azure: true }
        }
        Provider::Gitlab => named("TBOT_GITLAB_JWT"),
        Provider::Circleci => named("CIRCLE_OIDC_TOKEN"),
        Provider::Spacelift => named("SPACELIFT_OIDC_TOKEN"),
        Provider::TerraformCloud => named("TFC_WORKLOAD_IDENTITY_TOKEN"),
        Provider::Bitbucket => named("BITBUCKET_STEP_OIDC_TOKEN"),
        Provider::Kubernetes => {
            let path = environment("KUBERNETES_TOKEN_PATH").unwrap_or_else(|| SERVICE_ACCOUNT.to_owned());
            Source::File(PathBuf::from(path))
        }
        Provider::Gcp => {
            Source::Metadata(environment("GCE_METADATA_HOST").unwrap_or_else(|| METADATA.to_owned()))
        }
        Provider::Env0 => named("ENV0_OIDC_TOKEN"),
        Provider::Iam | Provider::Azure => Source::None,
    }
}

/// The environment variables that hold what this method joins with, or lead to it.
pub fn variables(method: &Method) -> Vec<String> {
    match method {
        // What Azure gives out is for every program of the machine.
        Method::Token | Method::Tpm { .. } | Method::Azure { .. } => Vec::new(),
        Method::BoundKeypair { .. } => vec!["TBOT_REGISTRATION_SECRET".to_owned()],
        Method::Platform { provider, variable } => match source(*provider, variable.as_deref(), |_| None) {
            Source::Variable(name) => vec![name],
            // What AWS gives out is for every program of the machine or the task, and most reach it without a variable.
            Source::File(_) | Source::Metadata(_) | Source::None => Vec::new(),
            Source::Server { url, bearer, .. } => vec![url.to_owned(), bearer.to_owned()],
        },
    }
}

/// A variable of the environment that says something.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The ID token for this cluster.
pub async fn id_token(
    provider: Provider,
    variable: Option<&str>,
    cluster: &ClusterName,
) -> Result<Zeroizing<String>, AgentError> {
    let token = match source(provider, variable, environment) {
        Source::Variable(name) => {
            environment(&name).ok_or_else(|| missing(provider, format!("{name} is not set")))?
        }
        Source::File(path) => std::fs::read_to_string(&path)
            .map_err(|error| missing(provider, format!("{}: {error}", path.display())))?,
        Source::Metadata(host) => of_machine(&host, cluster).await?,
        Source::None => return Err(missing(provider, "this method has no ID token".to_owned())),
        Source::Server { url, bearer, is_azure } => {
            let variable =
                |name: &str| environment(name).ok_or_else(|| missing(provider, format!("{name} is not set")));
            let (address, bearer) = (variable(url)?, Zeroizing::new(variable(bearer)?));
            ask(&address, &bearer, is_azure, cluster).await?
        }
    };
    Ok(Zeroizing::new(token.trim().to_owned()))
}

/// What servers of platforms answer.
#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "oidcToken")]
    value: String,
}

async fn ask(
    address: &str,
    bearer: &str,
    is_azure: bool,
    cluster: &ClusterName,
) -> Result<String, AgentError> {
    let joint = if address.contains('?') { '&' } else { '?' };
    let url = match is_azure {
        true => format!("{address}{joint}api-version=7.1"),
        // Names of clusters are host names: there is nothing to escape.
        false => format!("{address}{joint}audience={cluster}"),
    };
    let verb = if is_azure { Verb::Post(&[]) } else { Verb::Get };
    let question = Question { verb, bearer: Some(bearer), ..Question::get(&url) };
    let unusable = |reason: String| AgentError::Unusable { what: "the platform's ID token", reason };
    let answer = Client::new(&[]).ask(question).await.map_err(|error| unusable(error.to_string()))?;
    let answer = Zeroizing::new(answer);
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| unusable("the platform answered without one".to_owned()))?;
    Ok(answer.value)
}

/// Of the machine's default service account, with what the machine is (`format=full`).
async fn of_machine(host: &str, cluster: &ClusterName) -> Result<String, AgentError> {
    let url = format!(
        "http://{host}/computeMetadata/v1/instance/service-accounts/default/identity?audience={cluster}&format=full"
    );
    let question = Question { headers: &[("metadata-flavor", "Google")], ..Question::get(&url) };
    let unusable = |reason: String| AgentError::Unusable { what: "the machine's ID token", reason };
    let answer = ask_machine(question).await.map_err(|error| match error {
        FetchError::Status { status: 404, .. } => {
            missing(Provider::Gcp, "the machine has no service account".to_owned())
        }
        error => unusable(error.to_string()),
    })?;
    String::from_utf8(answer).map_err(|_| unusable("the metadata server answered without one".to_owned()))
}

fn missing(provider: Provider, reason: String) -> AgentError {
    AgentError::NoIdToken { method: provider.as_str(), reason, advice: advice(provider) }
}

fn advice(provider: Provider) -> &'static str {
    match provider {
        Provider::Github => "give the job `permissions: {id-token: write}`",
        Provider::Gitlab => "give the job `id_tokens: {TBOT_GITLAB_JWT: {aud: <cluster name>}}`",
        Provider::Bitbucket => "give the step `oidc: true`",
        Provider::Circleci => "give the job a context, without which CircleCI makes no ID token",
        Provider::AzureDevops => "give the step `env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}`",
        Provider::Kubernetes => "mount a projected service account token, or set KUBERNETES_TOKEN_PATH",
        Provider::Gcp => "give the machine a service account, and run tbot on it",
        Provider::Iam => "run tbot on a machine of AWS",
        Provider::Azure => "run tbot on a machine of Azure",
        Provider::Env0 => "enable OIDC for deployments in the policies of the organization",
        Provider::Spacelift | Provider::TerraformCloud => "run tbot inside a run of that platform",
    }
}

#[cfg(test)]
mod tests {
    use super::{SERVICE_ACCOUNT, Source, source};
    use access::resource::token::Provider;
    use std::path::PathBuf;

    #[test]
    fn each_platform_has_its_place() {
        let nothing = |_: &str| None;
        let variable = |name: &str| Source::Variable(name.to_owned());
        for (provider, default) in [
            (Provider::Gitlab, "TBOT_GITLAB_JWT"),
            (Provider::Circleci, "CIRCLE_OIDC_TOKEN"),
            (Provider::Spacelift, "SPACELIFT_OIDC_TOKEN"),
            (Provider::TerraformCloud, "TFC_WORKLOAD_IDENTITY_TOKEN"),
            (Provider::Bitbucket, "BITBUCKET_STEP_OIDC_TOKEN"),
            (Provider::Env0, "ENV0_OIDC_TOKEN"),
        ] {
            assert_eq!(source(provider, None, nothing), variable(default));
            assert_eq!(source(provider, Some("OTHER"), nothing), variable("OTHER"));
        }
        let file = |path: &str| Source::File(PathBuf::from(path));
        assert_eq!(source(Provider::Kubernetes, None, nothing), file(SERVICE_ACCOUNT));
        let set = |name: &str| (name == "KUBERNETES_TOKEN_PATH").then(|| "/x".to_owned());
        assert_eq!(source(Provider::Kubernetes, None, set), file("/x"));
        let machine = Source::Metadata("169.254.169.254".to_owned());
        assert_eq!(source(Provider::Gcp, None, nothing), machine);
    }
}
