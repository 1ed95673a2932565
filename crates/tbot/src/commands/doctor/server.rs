//! The cluster: found, answering, the one that is expected, with the same idea of the time.

use super::finding::Finding;
use crate::agent::AgentError;
use crate::agent::front::refuse_auth;
use crate::agent::joining::first_trust;
use crate::agent::member::address;
use crate::config::{Config, FirstTrust};
use api::v1::ChallengeRequest;
use api::v1::join_service_client::JoinServiceClient;
use identity::credentials::Credentials;
use identity::trust::Pin;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use transport::{ServerTrust, rpc};

/// Certificates are valid from a little before they are issued; a clock that is further behind finds them not valid yet.
const TOLERATED: SignedDuration = SignedDuration::from_secs(30);

pub(super) async fn examine(config: &Config, stored: Option<&Credentials>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = pins(config, stored).into_iter().collect();
    let asked = ask(config, stored).await;
    match asked {
        Err(error) => findings.push(Finding::of("server", &error)),
        Ok((issued, now)) => {
            findings.push(Finding::good(
                "server",
                format!("{} answers, and is who it should be", config.server.address()),
            ));
            findings.extend(issued.map(|issued| clock(issued, now)));
        }
    }
    findings
}

/// Once joined, the identity says whom to believe; the pins matter when it has to join again.
fn pins(config: &Config, stored: Option<&Credentials>) -> Option<Finding> {
    let (FirstTrust::Pins(pins), Some(stored)) = (&config.onboarding.trust, stored) else { return None };
    let own: Vec<Pin> = stored.trust.host.tls.iter().filter_map(|der| Pin::of(der).ok()).collect();
    match pins.iter().any(|pin| own.contains(pin)) {
        true => Some(Finding::good("pin", "it is this cluster's")),
        false => Some(Finding::warning(
            "pin",
            "no pin of onboarding.ca_pins is this cluster's: the agent could not join again",
            "set the pins that tctl status shows",
        )),
    }
}

/// The server's time of the answer, where it tells it, and ours.
async fn ask(
    config: &Config,
    stored: Option<&Credentials>,
) -> Result<(Option<Timestamp>, Timestamp), AgentError> {
    let trust = match stored {
        Some(stored) => ServerTrust::cluster(Arc::new(stored.trust.clone())),
        None => first_trust(&config.onboarding.trust)?,
    };
    refuse_auth(&config.server, &trust).await?;
    let channel = rpc::connect_join(&address(&config.server)?, trust);
    let asking = JoinServiceClient::new(channel).challenge(ChallengeRequest::default()).await;
    let answer = asking.map_err(AgentError::call("asking the server"))?.into_inner();
    Ok((issued(&answer.challenge), Timestamp::now()))
}

/// A challenge of version 1 tells when it was issued (`join::challenge`).
fn issued(challenge: &[u8]) -> Option<Timestamp> {
    let (version, rest) = challenge.split_first()?;
    let milliseconds = rest.first_chunk::<8>().filter(|_| *version == 1)?;
    Timestamp::from_millisecond(i64::from_be_bytes(*milliseconds)).ok()
}

fn clock(server: Timestamp, now: Timestamp) -> Finding {
    let ahead = now.duration_since(server);
    let seconds = ahead.abs().as_secs();
    let direction = if ahead.is_negative() { "behind" } else { "ahead of" };
    match ahead.abs() <= TOLERATED {
        true => Finding::good("clock", format!("{seconds} s from the server's")),
        false => Finding::wrong(
            "clock",
            format!("{seconds} s {direction} the server's: certificates seem expired or not valid yet"),
            "set the time of this machine, or of the server: timedatectl set-ntp true",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{clock, issued};
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn a_clock_that_is_off_is_wrong_in_either_direction() {
        let now = Timestamp::UNIX_EPOCH;
        for (seconds, wrong, part) in [
            (0, false, "0 s"),
            (29, false, "29 s"),
            (3600, true, "3600 s behind"),
            (-90, true, "90 s ahead of"),
        ] {
            let found = clock(now + SignedDuration::from_secs(seconds), now);
            assert_eq!(found.is_wrong(), wrong, "{seconds}");
            assert!(found.text().contains(part), "{}", found.text());
        }
    }

    #[test]
    fn only_challenges_that_are_understood_tell_the_time() {
        let mut challenge = vec![1];
        challenge.extend(5000_i64.to_be_bytes());
        assert_eq!(issued(&challenge), Timestamp::from_second(5).ok());
        challenge[0] = 2;
        assert_eq!(issued(&challenge), None);
        assert_eq!((issued(&[]), issued(&[1, 2])), (None, None));
    }
}
