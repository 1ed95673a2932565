//! AWS STS, which says who signed a request.

use crate::web::{Turns, Web};
use join::iam::Request;
use join::oidc::Claims;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use store::Clock;
use tokio::sync::Semaphore;
use transport::https::{FetchError, Question};

/// Sends requests that joiners signed.
pub struct Sts {
    web: Arc<Web>,
    clock: Arc<dyn Clock>,
    /// By endpoint, of which there are few: one that does not answer holds up nobody at another.
    turns: Mutex<HashMap<String, Arc<Turns>>>,
    /// For all endpoints together.
    inside: Semaphore,
}

/// Joins that wait for STS, at whatever endpoint: a part of those that auth works on.
const MOST: usize = 64;

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
        Self { web, clock, turns: Mutex::default(), inside: Semaphore::new(MOST) }
    }

    fn turns(&self, url: &str) -> Arc<Turns> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Turns::new(Arc::clone(&self.clock)));
        Arc::clone(turns.entry(url.to_owned()).or_insert_with(new))
    }

    /// Who signed.
    pub async fn caller(&self, request: &Request) -> Result<Claims, Unknown> {
        let busy = |_| Unknown::Away(format!("{MOST} joins wait for STS already"));
        let _inside = self.inside.try_acquire().map_err(busy)?;
        let turns = self.turns(&request.url);
        let _turn = turns.take().await.map_err(Unknown::Away)?;
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let question =
            Question { headers: &headers, ..Question::post(&request.url, request.body.as_bytes()) };
        match self.web.client().ask(question).await {
            Ok(answer) => request.caller(&answer).ok_or_else(|| {
                Unknown::Away("the answer of STS names no account and ARN of its partition".to_owned())
            }),
            // Not signed by the key, or too long ago.
            Err(error @ FetchError::Status { status: 400..=403, .. }) => {
                Err(Unknown::Refused(error.to_string()))
            }
            Err(error) => Err(Unknown::Away(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Sts, Unknown};
    use crate::web::{INSIDE, Web};
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
            let free = sts.inside.available_permits();
            waiting.spawn(async move { drop(asking.caller(&request).await) });
            while sts.inside.available_permits() == free {
                tokio::task::yield_now().await;
            }
            assert_eq!(MOST - sts.inside.available_permits(), expected);
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
        assert_eq!(sts.inside.available_permits(), MOST);
    }
}
