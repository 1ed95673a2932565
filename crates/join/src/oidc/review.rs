//! What the API of a Kubernetes cluster says of a service account token (`TokenReview`, authentication.k8s.io/v1): the
//! question to it, and what its answer has to say (fact sheet, section 4.3).

use super::{Claims, Unverified};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const PREFIX: &str = "system:serviceaccount:";
const GROUP: &str = "system:serviceaccounts";
const POD: &str = "authentication.kubernetes.io/pod-name";

/// The question.
pub fn question(token: &str) -> Vec<u8> {
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    review.to_string().into_bytes()
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
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The claims of a service account's token, if the answer says that it is one of a pod that runs.
pub fn reviewed(answer: &[u8]) -> Result<Claims, Unverified> {
    let malformed = Unverified::Malformed("the answer of the Kubernetes API is no TokenReview");
    let Review { status } = serde_json::from_slice(answer).map_err(|_| malformed)?;
    let wrong = |claim, found: String, wanted: &str| {
        let found = found.chars().take(256).collect();
        Err(Unverified::Claim { claim, found, wanted: wanted.to_owned() })
    };
    if !status.authenticated {
        return wrong("authenticated", format!("false {}", status.error), "true");
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
    use super::reviewed;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn answer(change: impl Fn(&mut Value)) -> Vec<u8> {
        let mut answer = json!({"kind": "TokenReview", "status": {"authenticated": true, "user": {
            "username": "system:serviceaccount:ci:runner",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/pod-name": ["runner-1"]}}}});
        change(&mut answer["status"]);
        answer.to_string().into_bytes()
    }

    #[test]
    fn a_pod_is_one_by_everything_that_is_said_of_it() {
        let claims = reviewed(&answer(|_| {})).expect("is one");
        assert_eq!(claims.text("sub"), Some("system:serviceaccount:ci:runner"));
        let changes: [fn(&mut Value); 7] = [
            |status| status["authenticated"] = json!(false),
            |status| status["user"]["username"] = json!("ci:runner"),
            |status| status["user"]["groups"] = json!(["system:authenticated"]),
            |status| status["user"]["extra"] = json!({}),
            |status| status["user"]["extra"]["authentication.kubernetes.io/pod-name"] = json!([""]),
            |status| *status = json!({}),
            |status| *status = json!("yes"),
        ];
        for (nth, change) in changes.into_iter().enumerate() {
            assert!(reviewed(&answer(change)).is_err(), "{nth}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(reviewed(&bytes).is_err());
        }
    }
}
