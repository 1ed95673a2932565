//! Method `iam`: a principal of AWS signs a request to STS, `GetCallerIdentity`, and auth sends it; the answer says who
//! signed (Signature Version 4, AWS General Reference).
//!
//! What travels is no request but what is particular to one: host, date, key and signature. All the rest is written by
//! auth itself, the names of the signed headers too, so there is nothing else that a joiner could have it send. One of
//! the signed headers is a hash of everything that the joiner claims, its key and auth's challenge among it: a request
//! that was signed for something else, or for somebody else, has another signature.

use crate::oidc::Claims;
use crate::{Claim, token};
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use zeroize::Zeroizing;

const DOMAIN: &[u8] = b"postern join iam v1";
const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const ACCEPT: &str = "application/json";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "sts";

/// The longest session token; those of AWS have about a kilobyte and may grow.
const LONGEST_TOKEN: usize = 8 * 1024;
/// HMAC-SHA256.
const SIGNATURE: usize = 32;

/// Regions that have an endpoint of STS of their own.
const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];
const CHINA: &[&str] = &["cn-north-1", "cn-northwest-1"];
/// Those with an endpoint `sts-fips`; the endpoints of GovCloud are such under their plain names.
const FIPS: &[&str] = &["ca-central-1", "ca-west-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2"];

/// An endpoint of STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    region: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Global,
    Regional,
    Fips,
    China,
}

impl Endpoint {
    /// The one for all regions that are on by default; signatures for it name `us-east-1`.
    pub const GLOBAL: Self = Self { region: "us-east-1", kind: Kind::Global };

    fn all() -> impl Iterator<Item = Self> {
        let of = |kind| move |region: &&'static str| Self { region, kind };
        std::iter::once(Self::GLOBAL)
            .chain(REGIONS.iter().map(of(Kind::Regional)))
            .chain(FIPS.iter().map(of(Kind::Fips)))
            .chain(CHINA.iter().map(of(Kind::China)))
    }

    /// That of a region; none where there is none, or none that is validated for FIPS 140.
    pub fn of_region(region: &str, fips: bool) -> Option<Self> {
        let fits = |endpoint: &Self| match endpoint.kind {
            Kind::Global => false,
            Kind::Regional => !fips || region.starts_with("us-gov-"),
            Kind::Fips => fips,
            Kind::China => !fips,
        };
        Self::all().find(|endpoint| endpoint.region == region && fits(endpoint))
    }

    /// The part of AWS that it is of, as ARNs name it. Numbers of accounts are given out in each of them anew.
    pub fn partition(self) -> &'static str {
        match self.kind {
            Kind::China => "aws-cn",
            _ if self.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// The one that is called so.
    pub fn of_host(host: &str) -> Option<Self> {
        Self::all().find(|endpoint| endpoint.host() == host)
    }

    /// Its host name.
    pub fn host(self) -> String {
        let region = self.region;
        match self.kind {
            Kind::Global => "sts.amazonaws.com".to_owned(),
            Kind::Regional => format!("sts.{region}.amazonaws.com"),
            Kind::Fips => format!("sts-fips.{region}.amazonaws.com"),
            Kind::China => format!("sts.{region}.amazonaws.com.cn"),
        }
    }
}

/// What AWS gave the joiner to sign with.
pub struct Credentials {
    /// Names the key; no secret.
    pub access_key_id: String,
    /// The key.
    pub secret_key: Zeroizing<String>,
    /// With keys that end by themselves.
    pub session_token: Option<Zeroizing<String>>,
}

/// What the joiner shows: the particulars of the request that it signed.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Of the endpoint.
    pub host: &'a str,
    /// `yyyymmddThhmmssZ`.
    pub date: &'a str,
    /// As AWS gave it.
    pub access_key_id: &'a str,
    /// As AWS gave it; empty if it gave none.
    pub session_token: &'a str,
    /// By the secret key.
    pub signature: &'a [u8],
}

/// Why what was shown is no request to STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {wanted} is needed")]
pub struct NoRequest {
    /// The part of the proof.
    pub field: &'static str,
    /// What it should be.
    pub wanted: &'static str,
}

/// The joiner's half: the signature over the request, and the date that belongs to it.
pub fn prove(
    claim: &Claim<'_>,
    endpoint: Endpoint,
    credentials: &Credentials,
    now: jiff::Timestamp,
) -> (String, [u8; SIGNATURE]) {
    let date = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let token = credentials.session_token.as_deref().map_or("", String::as_str);
    let canonical = canonical(&headers(endpoint, &date, token, &challenge(claim)));
    let text = to_sign(endpoint, &date, &canonical);
    (date.clone(), sign(&credentials.secret_key, &date[..8], endpoint.region, SERVICE, &text))
}

/// A request that auth may send, for a joiner that claims what it was signed for.
#[derive(Clone)]
pub struct Request {
    /// `https://host/`.
    pub url: String,
    /// With the signature.
    pub headers: Vec<(&'static str, Zeroizing<String>)>,
    /// To be posted.
    pub body: &'static str,
    partition: &'static str,
}

/// The server's half: the request, if everything in it is of the one form that it has.
pub fn verify(claim: &Claim<'_>, shown: &Shown<'_>) -> Result<Request, NoRequest> {
    let wrong = |field, wanted| NoRequest { field, wanted };
    let endpoint = Endpoint::of_host(shown.host).ok_or_else(|| {
        wrong("host", "one of the endpoints of AWS STS, such as sts.eu-central-1.amazonaws.com,")
    })?;
    if !is_date(shown.date) {
        return Err(wrong("date", "a time like 20300131T235959Z"));
    }
    if !(16..=128).contains(&shown.access_key_id.len())
        || !shown.access_key_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err(wrong("access_key_id", "the id of an access key"));
    }
    let token = shown.session_token;
    if token.len() > LONGEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("session_token", "a session token of at most 8 KiB"));
    }
    let signature: [u8; SIGNATURE] =
        shown.signature.try_into().map_err(|_| wrong("signature", "a signature of 32 bytes"))?;
    let mut headers = headers(endpoint, shown.date, token, &challenge(claim));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
        shown.access_key_id,
        scope(endpoint, shown.date),
        names(&headers),
        hex::encode(signature),
    );
    headers.retain(|(name, _)| *name != "host");
    headers.push(("authorization", authorization.into()));
    let (url, partition) = (format!("https://{}/", endpoint.host()), endpoint.partition());
    Ok(Request { url, headers, body: BODY, partition })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "GetCallerIdentityResponse")]
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "GetCallerIdentityResult")]
    result: Caller,
}

#[derive(Deserialize)]
struct Caller {
    #[serde(rename = "Account")]
    account: String,
    #[serde(rename = "Arn")]
    arn: String,
}

impl Request {
    /// Who signed, by the answer of STS.
    pub fn caller(&self, answer: &[u8]) -> Option<Claims> {
        caller(answer, self.partition)
    }
}

/// An endpoint knows who is of its own partition, and nobody else.
fn caller(answer: &[u8], partition: &str) -> Option<Claims> {
    let Answer { response: Response { result: Caller { account, arn } } } =
        serde_json::from_slice(answer).ok()?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    // The second part of an ARN is the partition, the fifth the account.
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let is_its = arn.len() <= 2048
        && matches!(parts[..], ["arn", of, _, _, id, _] if of == partition && id == account);
    let claims = [("Account", account), ("Partition", partition.to_owned()), ("Arn", arn)];
    let claims = claims.map(|(name, value)| (name.to_owned(), Value::String(value)));
    (is_account && is_its).then(|| Claims::of(Map::from_iter(claims)))
}

/// What binds the request to this joiner, its key, its token and auth's challenge.
fn challenge(claim: &Claim<'_>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(DOMAIN);
    context.update(&token::prove(claim));
    URL_SAFE_NO_PAD.encode(context.finish())
}

/// The headers that are signed, by name.
fn headers(
    endpoint: Endpoint,
    date: &str,
    token: &str,
    challenge: &str,
) -> Vec<(&'static str, Zeroizing<String>)> {
    let mut headers = vec![
        ("accept", ACCEPT.to_owned().into()),
        ("content-type", CONTENT_TYPE.to_owned().into()),
        ("host", endpoint.host().into()),
        ("x-amz-date", date.to_owned().into()),
    ];
    if !token.is_empty() {
        headers.push(("x-amz-security-token", token.to_owned().into()));
    }
    headers.push(("x-teleport-challenge", challenge.to_owned().into()));
    headers
}

fn names(headers: &[(&'static str, Zeroizing<String>)]) -> String {
    headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
}

fn canonical(headers: &[(&'static str, Zeroizing<String>)]) -> Zeroizing<String> {
    let mut text = Zeroizing::new("POST\n/\n\n".to_owned());
    for (name, value) in headers {
        let _ = writeln!(text, "{name}:{}", value.as_str());
    }
    let _ = write!(text, "\n{}\n{}", names(headers), sha256(BODY));
    text
}

fn scope(endpoint: Endpoint, date: &str) -> String {
    format!("{}/{}/{SERVICE}/aws4_request", &date[..8], endpoint.region)
}

fn to_sign(endpoint: Endpoint, date: &str, canonical: &str) -> String {
    format!("{ALGORITHM}\n{date}\n{}\n{}", scope(endpoint, date), sha256(canonical))
}

fn sign(secret: &str, day: &str, region: &str, service: &str, text: &str) -> [u8; SIGNATURE] {
    let start = Zeroizing::new(format!("AWS4{secret}"));
    let key = [day, region, service, "aws4_request"]
        .into_iter()
        .fold(Zeroizing::<Vec<u8>>::new(start.as_bytes().to_vec()), |key, part| {
            Zeroizing::<Vec<u8>>::new(mac(&key, part).to_vec())
        });
    mac(&key, text)
}

fn mac(key: &[u8], text: &str) -> [u8; SIGNATURE] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let mut bytes = [0; SIGNATURE];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn sha256(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn is_date(text: &str) -> bool {
    text.len() == 16
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::{Credentials, Endpoint, Shown, caller, prove, sign, verify};
    use crate::Claim;
    use access::SystemRole;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    const ID: &str = "AKIDEXAMPLEEXAMPLE";

    fn claim() -> Claim<'static> {
        Claim {
            token: "machines",
            role: SystemRole::Bot,
            attempt: &[1; 32],
            public_key: &[2; 91],
            challenge: &[3; 57],
        }
    }

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: ID.to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned().into(),
            session_token: None,
        }
    }

    #[test]
    fn signatures_are_those_of_the_general_reference() {
        let text = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n\
                    f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        let made = sign(&credentials().secret_key, "20150830", "us-east-1", "iam", text);
        let expected = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        assert_eq!(hex::encode(made), expected);
    }

    #[test]
    fn only_endpoints_of_sts_are_asked() {
        for (host, region) in [
            ("sts.amazonaws.com", "us-east-1"),
            ("sts.eu-central-1.amazonaws.com", "eu-central-1"),
            ("sts-fips.us-west-2.amazonaws.com", "us-west-2"),
            ("sts.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("sts.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ] {
            let endpoint = Endpoint::of_host(host).unwrap_or_else(|| panic!("{host}"));
            assert_eq!((endpoint.region, endpoint.host().as_str()), (region, host));
        }
        for host in [
            "",
            "sts.amazonaws.com.evil.example",
            "evil.example/sts.amazonaws.com",
            "sts.amazonaws.com:8443",
            "STS.amazonaws.com",
            "sts.s3.amazonaws.com",
            "sts.cn-north-1.amazonaws.com",
            "iam.amazonaws.com",
            "169.254.169.254",
        ] {
            assert_eq!(Endpoint::of_host(host), None, "{host}");
        }
        let host = |region, fips| Endpoint::of_region(region, fips).map(Endpoint::host);
        assert_eq!(host("eu-west-1", false).as_deref(), Some("sts.eu-west-1.amazonaws.com"));
        assert_eq!(host("us-east-1", true).as_deref(), Some("sts-fips.us-east-1.amazonaws.com"));
        assert_eq!(host("us-gov-east-1", true).as_deref(), Some("sts.us-gov-east-1.amazonaws.com"));
        assert_eq!(host("eu-west-1", true), None);
        assert_eq!(host("cn-northwest-1", false).as_deref(), Some("sts.cn-northwest-1.amazonaws.com.cn"));
    }

    #[test]
    fn the_request_is_written_by_auth_and_bound_to_what_is_claimed() {
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let endpoint = Endpoint::of_host("sts.eu-central-1.amazonaws.com").expect("one");
        let (date, signature) = prove(&claim(), endpoint, &credentials(), now);
        assert_eq!(date, "20231114T221320Z");
        let host = endpoint.host();
        let good =
            Shown { host: &host, date: &date, access_key_id: ID, session_token: "", signature: &signature };
        let request = verify(&claim(), &good).expect("is one");
        let header = |name: &str| {
            let found = request.headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str().to_owned()).unwrap_or_default()
        };
        assert_eq!(request.url, "https://sts.eu-central-1.amazonaws.com/");
        assert_eq!(
            header("authorization"),
            format!(
                "AWS4-HMAC-SHA256 Credential={ID}/20231114/eu-central-1/sts/aws4_request, \
                 SignedHeaders=accept;content-type;host;x-amz-date;x-teleport-challenge, Signature={}",
                hex::encode(signature)
            )
        );
        // Another key, another attempt, another challenge, another token: another header, so another signature.
        for other in [
            Claim { public_key: &[4; 91], ..claim() },
            Claim { attempt: &[4; 32], ..claim() },
            Claim { challenge: &[4; 57], ..claim() },
            Claim { token: "others", ..claim() },
        ] {
            let theirs = verify(&other, &good).expect("is of the form");
            let find = |request: &super::Request| {
                request.headers.iter().find(|(name, _)| *name == "x-teleport-challenge").cloned()
            };
            assert_ne!(find(&theirs), find(&request));
        }
        for (field, bad) in [
            ("host", Shown { host: "evil.example", ..good }),
            ("date", Shown { date: "20231114T221320Z\r\nx: y", ..good }),
            ("date", Shown { date: "2023111\u{e4}221320Z", ..good }),
            ("access_key_id", Shown { access_key_id: "AKID/20231114/x", ..good }),
            ("session_token", Shown { session_token: "a b", ..good }),
            ("signature", Shown { signature: &[0; 31], ..good }),
        ] {
            assert_eq!(verify(&claim(), &bad).err().map(|error| error.field), Some(field));
        }
    }

    #[test]
    fn the_answer_names_an_account_and_who_of_it() {
        let answer = |account: &str, arn: &str| {
            let caller = json!({"Account": account, "Arn": arn, "UserId": "AIDA"});
            json!({"GetCallerIdentityResponse": {"GetCallerIdentityResult": caller}}).to_string()
        };
        let id = "123456789012";
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            let arn = format!("arn:{partition}:sts::{id}:assumed-role/ci/i-0123");
            let claims = caller(answer(id, &arn).as_bytes(), partition).expect("is one");
            let found = ["Account", "Partition", "Arn"].map(|name| claims.text(name));
            assert_eq!(found, [Some(id), Some(partition), Some(arn.as_str())]);
            for other in ["aws", "aws-cn", "aws-us-gov"].iter().filter(|other| **other != partition) {
                assert_eq!(
                    caller(answer(id, &arn).as_bytes(), other),
                    None,
                    "{other} knows nobody of {partition}"
                );
            }
            assert_eq!(caller(answer("210987654321", &arn).as_bytes(), partition), None);
        }
        assert_eq!(caller(answer("", "arn:aws:sts:::x").as_bytes(), "aws"), None);
        assert_eq!(caller(answer(id, "aws:sts::123456789012").as_bytes(), "aws"), None);
        assert_eq!(caller(b"<xml/>", "aws"), None);
    }

    #[test]
    fn each_endpoint_is_of_one_partition() {
        for (host, partition) in [
            ("sts.amazonaws.com", "aws"),
            ("sts.eu-central-1.amazonaws.com", "aws"),
            ("sts-fips.us-west-2.amazonaws.com", "aws"),
            ("sts.us-gov-west-1.amazonaws.com", "aws-us-gov"),
            ("sts.us-gov-east-1.amazonaws.com", "aws-us-gov"),
            ("sts.cn-north-1.amazonaws.com.cn", "aws-cn"),
        ] {
            assert_eq!(Endpoint::of_host(host).map(Endpoint::partition), Some(partition), "{host}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_shown_panics(
            host in ".*", date in ".*", id in ".*", token in ".*", signature: Vec<u8>
        ) {
            let shown = Shown {
                host: &host, date: &date, access_key_id: &id, session_token: &token, signature: &signature,
            };
            prop_assert!(verify(&claim(), &shown).is_err());
        }
    }
}
