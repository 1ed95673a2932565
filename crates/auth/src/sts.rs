//! AWS STS, which says who signed a request.

use crate::web::{Servers, Silent, Web};
use join::iam::Request;
use join::oidc::Claims;
use std::sync::Arc;
use store::Clock;
use transport::https::{FetchError, Question};

/// Sends requests that joiners signed.
pub struct Sts(Servers);

/// Why it is not known who signed. The words are for administrators.
pub enum Unknown {
    /// STS says that nobody did.
    Refused(String),
    /// It may be told another time.
    Away(String),
}

impl Sts {
    /// Nobody has been asked about yet.
    pub fn new(web: Arc<Web>, clock: Arc<dyn Clock>) -> Self {
        Self(Servers::new(web, clock, "STS"))
    }

    /// Who signed.
    pub async fn caller(&self, request: &Request) -> Result<Claims, Unknown> {
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let question =
            Question { headers: &headers, ..Question::post(&request.url, request.body.as_bytes()) };
        match self.0.ask(&request.url, question).await {
            Ok(answer) => request.caller(&answer).ok_or_else(|| {
                Unknown::Away("the answer of STS names no account and ARN of its partition".to_owned())
            }),
            // Not signed by the key, or too long ago.
            Err(Silent::Asked(error @ FetchError::Status { status: 400..=403, .. })) => {
                Err(Unknown::Refused(error.to_string()))
            }
            Err(Silent::Asked(error)) => Err(Unknown::Away(error.to_string())),
            Err(Silent::Unasked(trouble)) => Err(Unknown::Away(trouble)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sts, Unknown};
    use crate::web::{INSIDE, MOST, Web};
    use access::{HostPort, SystemRole};
    use join::iam::{self, Request};
    use std::sync::Arc;
    use store::SystemClock;
    use tokio::task::JoinSet;

    fn request(region: &str) -> Request {
        let claim = join::Claim {
            token: "machines",
            role: SystemRole::Bot,
            attempt: &[1; 32],
            public_key: &[2; 91],
            challenge: &[3; 57],
        };
        let shown = iam::Shown {
            host: &format!("sts.{region}.amazonaws.com"),
            date: "20300131T235959Z",
            access_key_id: "AKIDEXAMPLEEXAMPLE",
            session_token: "",
            signature: &[0; 32],
        };
        iam::verify(&claim, &shown).expect("is one")
    }

    fn why(unknown: Unknown) -> String {
        match unknown {
            Unknown::Away(why) => why,
            Unknown::Refused(why) => panic!("nobody was asked: {why}"),
        }
    }

    /// All wait for servers that take connections and say nothing.
    #[tokio::test]
    async fn who_waits_for_sts_leaves_places_to_the_others() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = silent.local_addr().expect("an address").port();
        let regions = ["eu-west-1", "eu-west-2", "eu-west-3"];
        let address = |host: &str, port| HostPort::new(host, port).expect("an address");
        let reach =
            |region| (address(&format!("sts.{region}.amazonaws.com"), 443), address("127.0.0.1", port));
        let web = Web::new(vec![], regions.iter().map(reach).collect());
        let sts = Arc::new(Sts::new(web, Arc::new(SystemClock)));
        let mut waiting = JoinSet::new();
        let mut wait = async |region: &str, expected: usize| {
            let (asking, request) = (Arc::clone(&sts), request(region));
            let free = sts.0.inside.available_permits();
            waiting.spawn(async move { drop(asking.caller(&request).await) });
            while sts.0.inside.available_permits() == free {
                tokio::task::yield_now().await;
            }
            assert_eq!(MOST - sts.0.inside.available_permits(), expected);
        };
        for n in 1..=INSIDE {
            wait(regions[0], n).await;
        }
        // One endpoint that is slow has its share, and no more.
        let full = why(sts.caller(&request(regions[0])).await.expect_err("is full"));
        assert!(full.contains("16 others wait to be asked about"), "{full}");
        for n in INSIDE + 1..=2 * INSIDE {
            wait(regions[1], n).await;
        }
        for n in 2 * INSIDE + 1..=MOST {
            wait(regions[2], n).await;
        }
        let full = why(sts.caller(&request(regions[2])).await.expect_err("is full"));
        assert!(full.contains("64 joins wait for STS already"), "{full}");
        // Who has gone waits no longer.
        waiting.shutdown().await;
        assert_eq!(sts.0.inside.available_permits(), MOST);
    }
}
