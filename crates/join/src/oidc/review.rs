//! What the API of a Kubernetes cluster says of a service account token (`TokenReview`, authentication.k8s.io/v1): the
//! question to it, and what its answer has to say (fact sheet, section 4.3).

use super::{Claims, LEEWAY, Unverified, Verdict, differs, for_audience, judge, jws, time};
use access::resource::token::Oidc;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const PREFIX: &str = "system:serviceaccount:";
const GROUP: &str = "system:serviceaccounts";
const POD: &str = "authentication.kubernetes.io/pod-name";

/// The question.
pub fn question(token: &str, audience: &str) -> Vec<u8> {
    let spec = json!({"token": token, "audiences": [audience]});
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})
        .to_string()
        .into_bytes()
}

/// What a token says of itself, which nobody has vouched for: only good to see that it is not worth a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed(Claims);

impl Claimed {
    /// How the rules would judge it, if it were true.
    pub fn verdict(&self, oidc: &Oidc) -> Verdict {
        judge(oidc, &self.0)
    }
}

/// Reads a token without believing it: whether it is short, of the form that the API signs, for `audience`, and not over.
pub fn claimed(token: &str, audience: &str, now: Timestamp) -> Result<Claimed, Unverified> {
    let claims = jws::unverified(token)?;
    let account = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if !account.starts_with(PREFIX) {
        return Err(differs(&claims, "sub", "a service account".to_owned()));
    }
    for_audience(&claims, audience)?;
    match time(&claims, "exp") {
        Some(expires) if expires > (now - LEEWAY).as_second() => Ok(Claimed(Claims(claims))),
        _ => Err(differs(&claims, "exp", format!("after now, {}", now.as_second()))),
    }
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    error: String,
    user: User,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The claims of a service account's token, if the answer says that it is one of a pod that runs, and
/// for `audience`. An API that knows nothing of audiences names none.
pub fn reviewed(answer: &[u8], audience: &str) -> Result<Claims, Unverified> {
    let malformed = Unverified::Malformed("the answer of the Kubernetes API is no TokenReview");
    let Review { status } = serde_json::from_slice(answer).map_err(|_| malformed)?;
    let wrong = |claim, found: String, wanted: &str| {
        let found = found.chars().take(256).collect();
        Err(Unverified::Claim { claim, found, wanted: wanted.to_owned() })
    };
    if !status.authenticated {
        return wrong("authenticated", format!("false {}", status.error), "true");
    }
    if !status.audiences.iter().any(|one| one == audience) {
        return wrong("audiences", status.audiences.join(", "), audience);
    }
    let User { username, groups, extra } = status.user;
    if !username.starts_with(PREFIX) {
        return wrong("username", username, "a service account");
    }
    if !groups.iter().any(|group| group == GROUP) {
        return wrong("groups", groups.join(", "), GROUP);
    }
    if extra.get(POD).is_none_or(|names| names.iter().all(String::is_empty)) {
        return wrong("extra", "no pod".to_owned(), "a pod that the token is bound to");
    }
    Ok(Claims(Map::from_iter([("sub".to_owned(), Value::String(username))])))
}

#[cfg(test)]
mod tests {
    use super::{claimed, reviewed};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn answer(change: impl Fn(&mut Value)) -> Vec<u8> {
        let mut answer = json!({"kind": "TokenReview", "status": {"authenticated": true, "audiences": ["us"], "user": {
            "username": "system:serviceaccount:ci:runner",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/pod-name": ["runner-1"]}}}});
        change(&mut answer["status"]);
        answer.to_string().into_bytes()
    }

    #[test]
    fn a_pod_is_one_by_everything_that_is_said_of_it() {
        let claims = reviewed(&answer(|_| {}), "us").expect("is one");
        assert_eq!(claims.text("sub"), Some("system:serviceaccount:ci:runner"));
        let changes: [fn(&mut Value); 9] = [
            |status| status["authenticated"] = json!(false),
            |status| status["user"]["username"] = json!("ci:runner"),
            |status| status["user"]["groups"] = json!(["system:authenticated"]),
            |status| status["user"]["extra"] = json!({}),
            |status| status["user"]["extra"]["authentication.kubernetes.io/pod-name"] = json!([""]),
            |status| status["audiences"] = json!(["https://kubernetes.default.svc"]),
            |status| status["audiences"] = json!([]),
            |status| *status = json!({}),
            |status| *status = json!("yes"),
        ];
        for (nth, change) in changes.into_iter().enumerate() {
            assert!(reviewed(&answer(change), "us").is_err(), "{nth}");
        }
    }

    #[test]
    fn what_is_not_worth_a_question_is_seen_before() {
        let token = |claims: Value| {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            format!("{}.{}.AAAA", part(&json!({"alg": "RS256", "kid": "k"})), part(&claims))
        };
        let now = Timestamp::from_second(1_700_000_000).expect("a time");
        let good = json!({"sub": "system:serviceaccount:ci:runner", "aud": ["us"], "exp": 1_700_000_100});
        assert!(claimed(&token(good.clone()), "us", now).is_ok());
        for (name, value) in [
            ("sub", json!("ci:runner")),
            ("aud", json!(["https://kubernetes.default.svc"])),
            ("aud", Value::Null),
            ("exp", json!(1_699_999_000)),
            ("exp", Value::Null),
        ] {
            let mut claims = good.clone();
            claims[name] = value.clone();
            assert!(claimed(&token(claims), "us", now).is_err(), "{name} {value}");
        }
        for text in ["", "a.b.c", "..", &"a".repeat(17 * 1024)] {
            assert!(claimed(text, "us", now).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(reviewed(&bytes, "us").is_err());
        }
    }
}
