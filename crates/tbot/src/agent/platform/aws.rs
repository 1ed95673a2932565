//! With what an agent signs for AWS, found where AWS's own tools look for it, apart from their files: environment, token
//! of a web identity, container, machine (IMDSv2). Asked for each time: such credentials live for hours at most.

use super::super::AgentError;
use join::iam::{Credentials, Endpoint};
use serde::Deserialize;
use transport::https::{Client, FetchError, Question, Verb, ask_machine};
use zeroize::Zeroizing;

/// Where Amazon ECS answers.
const CONTAINERS: &str = "http://169.254.170.2";
/// Where EC2 answers.
const MACHINES: &str = "http://169.254.169.254";
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
const ADVICE: &str = "give the machine an instance profile, the task or pod a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// The environment.
pub struct Aws<E>(pub E);

/// What servers of AWS answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    #[serde(alias = "Token")]
    session_token: Zeroizing<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assumed {
    assume_role_with_web_identity_response: AssumedResponse,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedResponse {
    assume_role_with_web_identity_result: AssumedResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumedResult {
    credentials: Answer,
}

impl<E: Fn(&str) -> Option<String>> Aws<E> {
    /// The credentials, and the endpoint that a request is signed for.
    pub async fn credentials(&self) -> Result<(Credentials, Endpoint), AgentError> {
        if let (Some(id), Some(secret)) = (self.get("AWS_ACCESS_KEY_ID"), self.get("AWS_SECRET_ACCESS_KEY")) {
            let session_token = self.get("AWS_SESSION_TOKEN").map(Zeroizing::new);
            let secret_key = Zeroizing::new(secret);
            return Ok((Credentials { access_key_id: id, secret_key, session_token }, self.endpoint(None)?));
        }
        if let (Some(file), Some(role)) = (self.get("AWS_WEB_IDENTITY_TOKEN_FILE"), self.get("AWS_ROLE_ARN"))
        {
            let endpoint = self.endpoint(None)?;
            return Ok((self.web_identity(&file, &role, endpoint).await?, endpoint));
        }
        if let Some(url) = self.container() {
            return Ok((self.of_container(&url).await?, self.endpoint(None)?));
        }
        if self.get("AWS_EC2_METADATA_DISABLED").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
            return Err(missing("there are no credentials of AWS, and AWS_EC2_METADATA_DISABLED is set"));
        }
        self.of_machine().await
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0(name)
    }

    /// That of the region, where one is known.
    fn endpoint(&self, region: Option<&str>) -> Result<Endpoint, AgentError> {
        let fips = self.get("AWS_USE_FIPS_ENDPOINT").is_some_and(|word| word.eq_ignore_ascii_case("true"));
        let given = self.get("AWS_REGION").or_else(|| self.get("AWS_DEFAULT_REGION"));
        let region = given.as_deref().or(region).unwrap_or(if fips { "us-east-1" } else { "" });
        match Endpoint::of_region(region, fips) {
            Some(endpoint) => Ok(endpoint),
            None if fips => Err(missing(&format!("region {region:?} has no FIPS endpoint of STS"))),
            None => Ok(Endpoint::GLOBAL),
        }
    }

    fn container(&self) -> Option<String> {
        let relative = self.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        relative
            .map(|path| format!("{CONTAINERS}{path}"))
            .or_else(|| self.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
    }

    async fn of_container(&self, url: &str) -> Result<Credentials, AgentError> {
        let token = match self.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(path) => Some(read(&path)?),
            None => self.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Zeroizing::new),
        };
        let headers: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", token.trim())).collect();
        let question = Question { headers: &headers, ..Question::get(url) };
        let answer = match url.starts_with("https://") {
            true => Client::new(&[]).ask(question).await,
            false => ask_machine(question).await,
        };
        credentials(answer, "the container's credentials")
    }

    async fn of_machine(&self) -> Result<(Credentials, Endpoint), AgentError> {
        let given = self.get("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        let base = given.as_deref().unwrap_or(MACHINES).trim_end_matches('/').to_owned();
        let what = "the machine's credentials";
        let url = format!("{base}/latest/api/token");
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
        let question = Question { verb: Verb::Put, headers: &headers, ..Question::get(&url) };
        let session = text(ask_machine(question).await, what)?;
        let headers = [("x-aws-ec2-metadata-token", session.as_str())];
        let ask = async |path: &str| {
            let url = format!("{base}/latest/meta-data/{path}");
            ask_machine(Question { headers: &headers, ..Question::get(&url) }).await
        };
        let roles = text(ask("iam/security-credentials/").await, what)?;
        let role = roles.lines().next().unwrap_or_default().trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
        if role.is_empty() || !role.chars().all(plain) {
            return Err(missing("the machine has no instance profile"));
        }
        let own = credentials(ask(&format!("iam/security-credentials/{role}")).await, what)?;
        // Without it the endpoint for all regions is used.
        let region = text(ask("placement/region").await, what).ok();
        Ok((own, self.endpoint(region.as_deref().map(|region| region.trim()))?))
    }

    /// A role for the token of a web identity, such as a service account's of Kubernetes.
    async fn web_identity(
        &self,
        file: &str,
        role: &str,
        endpoint: Endpoint,
    ) -> Result<Credentials, AgentError> {
        let token = read(file)?;
        let session = self.get("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "tbot".to_owned());
        let body = Zeroizing::new(format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}&WebIdentityToken={}",
            *escaped(role),
            *escaped(&session),
            *escaped(token.trim())
        ));
        let url = format!("https://{}/", endpoint.host());
        let url = self.get("AWS_ENDPOINT_URL_STS").unwrap_or(url);
        let question = Question { headers: &FORM, ..Question::post(&url, body.as_bytes()) };
        let what = "the role for a web identity";
        let answer = Zeroizing::new(Client::new(&[]).ask(question).await.map_err(unusable(what))?);
        let answer: Assumed = serde_json::from_slice(&answer).map_err(|_| no_credentials(what))?;
        Ok(answer
            .assume_role_with_web_identity_response
            .assume_role_with_web_identity_result
            .credentials
            .into())
    }
}

impl From<Answer> for Credentials {
    fn from(Answer { access_key_id, secret_access_key, session_token }: Answer) -> Self {
        Self { access_key_id, secret_key: secret_access_key, session_token: Some(session_token) }
    }
}

fn credentials(answer: Result<Vec<u8>, FetchError>, what: &'static str) -> Result<Credentials, AgentError> {
    let answer = Zeroizing::new(answer.map_err(unusable(what))?);
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| no_credentials(what))?;
    Ok(answer.into())
}

fn text(answer: Result<Vec<u8>, FetchError>, what: &'static str) -> Result<Zeroizing<String>, AgentError> {
    let answer = answer.map_err(unusable(what))?;
    String::from_utf8(answer).map(Zeroizing::new).map_err(|_| no_credentials(what))
}

fn read(path: &str) -> Result<Zeroizing<String>, AgentError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    text.map_err(|error| missing(&format!("{path}: {error}")))
}

/// As a part of a form (RFC 3986, section 2).
fn escaped(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn unusable(what: &'static str) -> impl Fn(FetchError) -> AgentError {
    move |error| AgentError::Unusable { what, reason: error.to_string() }
}

fn no_credentials(what: &'static str) -> AgentError {
    AgentError::Unusable { what, reason: "the answer holds none".to_owned() }
}

fn missing(reason: &str) -> AgentError {
    AgentError::NoIdToken { method: "iam", reason: reason.to_owned(), advice: ADVICE }
}

#[cfg(test)]
mod tests {
    use super::{Aws, escaped};

    #[test]
    fn the_region_says_where_the_request_goes() {
        let endpoint = |given: &'static [(&'static str, &'static str)], machine| {
            let environment = move |name: &str| {
                let found = given.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            Aws(environment).endpoint(machine).map(|endpoint| endpoint.host()).ok()
        };
        let host = |text: &str| Some(text.to_owned());
        assert_eq!(endpoint(&[], None), host("sts.amazonaws.com"));
        assert_eq!(endpoint(&[], Some("eu-west-1")), host("sts.eu-west-1.amazonaws.com"));
        assert_eq!(
            endpoint(&[("AWS_REGION", "us-east-2")], Some("eu-west-1")),
            host("sts.us-east-2.amazonaws.com")
        );
        assert_eq!(
            endpoint(&[("AWS_DEFAULT_REGION", "cn-north-1")], None),
            host("sts.cn-north-1.amazonaws.com.cn")
        );
        assert_eq!(endpoint(&[("AWS_REGION", "xx-new-9")], None), host("sts.amazonaws.com"));
        assert_eq!(
            endpoint(&[("AWS_USE_FIPS_ENDPOINT", "true")], None),
            host("sts-fips.us-east-1.amazonaws.com")
        );
        assert_eq!(endpoint(&[("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_REGION", "eu-west-1")], None), None);
    }

    #[test]
    fn forms_are_escaped() {
        assert_eq!(escaped("arn:aws:iam::1:role/a b").as_str(), "arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b");
    }
}
