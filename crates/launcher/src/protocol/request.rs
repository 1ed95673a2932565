//! [`Request`] to and from bytes.

use std::collections::BTreeMap;

use exec::wire::{Reader, Writer};
use ssh::algorithms::{KeyAlgorithm, KeyExchange};

use super::{Answer, Denied, Malformed, Request};

const START: u8 = 1;
const TRUST: u8 = 2;
const POLICY: u8 = 3;
const LABELS: u8 = 4;
const SIGN: u8 = 5;
const FORGET: u8 = 6;
const AUTHENTICATE: u8 = 7;
const CLOSE: u8 = 8;
const LAUNCH: u8 = 9;
const SIGNAL: u8 = 10;
const ABANDON: u8 = 11;
const KILL: u8 = 12;
const RELEASE: u8 = 13;

const NO_ROOM: &str = "the launcher cannot open as many files as it needs; raise its limit (LimitNOFILE)";

/// The longest session identifier: a hash of 512 bits.
const MAX_SESSION: usize = 64;
/// More labels than anybody gives a node.
const MAX_LABELS: usize = 1024;

impl Request {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Start(start) => {
                out.u8(START);
                out.bytes(&serde_json::to_vec(start).expect("names, paths and numbers"));
            }
            Self::Trust(bundle) => {
                out.u8(TRUST);
                out.bytes(bundle);
            }
            Self::Policy { payload, signature } => {
                out.u8(POLICY);
                out.bytes(payload);
                out.bytes(signature);
            }
            Self::Labels(labels) => {
                out.u8(LABELS);
                out.u32(u32::try_from(labels.len()).unwrap_or(u32::MAX));
                for (name, value) in labels {
                    out.bytes(name.as_bytes());
                    out.bytes(value.as_bytes());
                }
            }
            Self::Sign { ask, key_exchange, is_first, hashed } => {
                out.u8(SIGN);
                out.u32(*ask);
                out.bytes(key_exchange.name().as_bytes());
                out.u8(u8::from(*is_first));
                out.bytes(hashed);
            }
            Self::Forget(session) => {
                out.u8(FORGET);
                out.bytes(session);
            }
            Self::Authenticate { .. } => self.encode_proof(&mut out),
            Self::Launch { ask, admission, locks_fresh, request } => {
                out.u8(LAUNCH);
                out.u32(*ask);
                out.u64(*admission);
                out.u8(u8::from(*locks_fresh));
                out.bytes(request);
            }
            Self::Close(admission) => number(&mut out, CLOSE, *admission),
            Self::Abandon(session) => number(&mut out, ABANDON, *session),
            Self::Kill(session) => number(&mut out, KILL, *session),
            Self::Release(session) => number(&mut out, RELEASE, *session),
            Self::Signal(session, name) => {
                number(&mut out, SIGNAL, *session);
                out.bytes(name.as_bytes());
            }
        }
        out.into_bytes()
    }

    fn encode_proof(&self, out: &mut Writer) {
        let Self::Authenticate {
            ask,
            session,
            login,
            algorithm,
            blob,
            is_host_bound,
            signature,
            locks_fresh,
        } = self
        else {
            return;
        };
        out.u8(AUTHENTICATE);
        out.u32(*ask);
        out.bytes(session);
        out.bytes(login.as_bytes());
        out.bytes(algorithm.name().as_bytes());
        out.bytes(blob);
        out.u8(u8::from(*is_host_bound));
        out.bytes(signature);
        out.u8(u8::from(*locks_fresh));
    }

    /// What is said to a request whose descriptors could not be taken, of which the beginning is enough. Nothing to what is not
    /// answered.
    pub fn not_taken(bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
        let mut reader = Reader::new(bytes);
        let busy = || Denied::new("node_busy", NO_ROOM);
        Ok(Some(match reader.u8()? {
            TRUST | POLICY => Answer::Policy(Err(NO_ROOM.to_owned())),
            SIGN => Answer::Signed(reader.u32()?, Err(NO_ROOM.to_owned())),
            AUTHENTICATE => Answer::Judged(reader.u32()?, Err(busy())),
            LAUNCH => Answer::Launched(reader.u32()?, Err(busy())),
            START..=RELEASE => return Ok(None),
            _ => return Err(Malformed),
        }))
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let request = decode(&mut reader)?;
        reader.finish()?;
        Ok(request)
    }
}

fn number(out: &mut Writer, kind: u8, number: u64) {
    out.u8(kind);
    out.u64(number);
}

fn decode(reader: &mut Reader<'_>) -> Result<Request, Malformed> {
    Ok(match reader.u8()? {
        START => Request::Start(Box::new(serde_json::from_slice(reader.bytes()?).map_err(|_| Malformed)?)),
        TRUST => Request::Trust(reader.bytes()?.to_vec()),
        POLICY => Request::Policy { payload: reader.bytes()?.to_vec(), signature: reader.bytes()?.to_vec() },
        LABELS => Request::Labels(labels(reader)?),
        SIGN => Request::Sign {
            ask: reader.u32()?,
            key_exchange: named::<KeyExchange>(reader)?,
            is_first: flag(reader)?,
            hashed: reader.bytes()?.to_vec(),
        },
        FORGET => Request::Forget(session(reader)?),
        AUTHENTICATE => Request::Authenticate {
            ask: reader.u32()?,
            session: session(reader)?,
            login: reader.text()?.to_owned(),
            algorithm: KeyAlgorithm::of_name(reader.bytes()?).ok_or(Malformed)?,
            blob: reader.bytes()?.to_vec(),
            is_host_bound: flag(reader)?,
            signature: reader.bytes()?.to_vec(),
            locks_fresh: flag(reader)?,
        },
        CLOSE => Request::Close(reader.u64()?),
        LAUNCH => Request::Launch {
            ask: reader.u32()?,
            admission: reader.u64()?,
            locks_fresh: flag(reader)?,
            request: reader.bytes()?.to_vec(),
        },
        SIGNAL => Request::Signal(reader.u64()?, reader.text()?.to_owned()),
        ABANDON => Request::Abandon(reader.u64()?),
        KILL => Request::Kill(reader.u64()?),
        RELEASE => Request::Release(reader.u64()?),
        _ => return Err(Malformed),
    })
}

fn session(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let session = reader.bytes()?;
    if session.len() > MAX_SESSION { Err(Malformed) } else { Ok(session.to_vec()) }
}

fn named<T: std::str::FromStr>(reader: &mut Reader<'_>) -> Result<T, Malformed> {
    reader.text()?.parse().map_err(|_| Malformed)
}

fn labels(reader: &mut Reader<'_>) -> Result<BTreeMap<String, String>, Malformed> {
    let count = usize::try_from(reader.u32()?).map_err(|_| Malformed)?;
    if count > MAX_LABELS {
        return Err(Malformed);
    }
    (0..count).map(|_| Ok((reader.text()?.to_owned(), reader.text()?.to_owned()))).collect()
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use access::{HostId, Labels};
    use proptest::prelude::{any, proptest};

    use super::super::{Pam, Start};
    use super::{KeyAlgorithm, KeyExchange, Request};

    fn all() -> Vec<Request> {
        let start = Start {
            directory: "/var/lib/postern/launcher".into(),
            session_exec: "/usr/bin/session-exec".into(),
            host: HostId("11111111-2222-4333-8444-555555555555".parse().expect("an id")),
            labels: Labels::from_iter([("env", "prod")]),
            label_commands: ["arch".to_owned()].into(),
            file_copy: true,
            port_forwarding: false,
            pam: Some(Pam { service: "sshd".to_owned(), environment: [("A".into(), "b".into())].into() }),
            user_env: false,
            session_limits: vec![(7, 1024, 4096)],
            login_grace: Duration::from_secs(30),
        };
        let sign = |key_exchange| Request::Sign { ask: 1, key_exchange, is_first: true, hashed: vec![7; 99] };
        vec![
            Request::Start(Box::new(start)),
            Request::Trust(b"{}".to_vec()),
            Request::Policy { payload: b"{}".to_vec(), signature: vec![1, 2] },
            Request::Labels([("arch".to_owned(), "x86".to_owned())].into()),
            sign(KeyExchange::MlKem768X25519),
            sign(KeyExchange::Curve25519),
            Request::Forget(vec![1; 64]),
            Request::Authenticate {
                ask: 9,
                session: vec![1; 32],
                login: "alice".into(),
                algorithm: KeyAlgorithm::ALL[0],
                blob: vec![2; 40],
                is_host_bound: true,
                signature: vec![3; 50],
                locks_fresh: true,
            },
            Request::Close(u64::MAX),
            Request::Launch { ask: 3, admission: 4, locks_fresh: false, request: vec![9; 12] },
            Request::Signal(8, "TERM".into()),
            Request::Abandon(1),
            Request::Kill(2),
            Request::Release(3),
        ]
    }

    #[test]
    fn every_request_comes_back_and_nothing_shorter_or_longer_does() {
        for request in all() {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes), Ok(request.clone()));
            for end in 0..bytes.len() {
                Request::decode(&bytes[..end]).expect_err("cut");
            }
            Request::decode(&[&bytes[..], &[0]].concat()).expect_err("longer");
            assert!(format!("{request:?}").len() < 16, "says its kind alone");
        }
    }

    #[test]
    fn what_is_answered_is_answered_without_its_descriptors_too() {
        for request in all() {
            let bytes = request.encode();
            let answer = Request::not_taken(&bytes[..bytes.len().min(5)]).expect("one of these");
            let is_answered = matches!(
                request,
                Request::Trust(_)
                    | Request::Policy { .. }
                    | Request::Sign { .. }
                    | Request::Authenticate { .. }
                    | Request::Launch { .. }
            );
            assert_eq!(answer.is_some(), is_answered, "{request:?}");
        }
        Request::not_taken(&[]).expect_err("nothing");
        Request::not_taken(&[99]).expect_err("no kind");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Request::decode(&bytes);
        }

        #[test]
        fn no_mutation_panics(which in 0usize..14, position in any::<usize>(), value in any::<u8>()) {
            let mut bytes = all().swap_remove(which).encode();
            let position = position % bytes.len();
            bytes[position] = value;
            if let Ok(request) = Request::decode(&bytes) {
                let _ = request.encode();
            }
        }
    }
}
