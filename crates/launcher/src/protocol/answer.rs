//! [`Answer`] to and from bytes.

use exec::wire::{Reader, Writer};

use super::{Answer, Denied, Exit, Malformed, Running};

const READY: u8 = 1;
const POLICY: u8 = 2;
const SIGNED: u8 = 3;
const JUDGED: u8 = 4;
const LAUNCHED: u8 = 5;
const ENDED: u8 = 6;

const NO: u8 = 0;
const YES: u8 = 1;

/// Longer words are cut here.
const MAX_WORDS: usize = 2048;

impl Answer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Ready { public_key } => {
                out.u8(READY);
                out.bytes(public_key);
            }
            Self::Policy(outcome) => {
                out.u8(POLICY);
                put(&mut out, outcome, |out, revision| out.u64(revision.cast_unsigned()), words);
            }
            Self::Signed(ask, outcome) => {
                out.u8(SIGNED);
                out.u32(*ask);
                put(&mut out, outcome, |out, signature| out.bytes(signature), words);
            }
            Self::Judged(ask, outcome) => {
                out.u8(JUDGED);
                out.u32(*ask);
                put(&mut out, outcome, |out, admission| out.u64(*admission), denied);
            }
            Self::Launched(ask, outcome) => {
                out.u8(LAUNCHED);
                out.u32(*ask);
                put(&mut out, outcome, running, denied);
            }
            Self::Ended(session, exit) => {
                out.u8(ENDED);
                out.u64(*session);
                match exit {
                    Exit::Code(code) => {
                        out.u8(YES);
                        out.u8(*code);
                    }
                    Exit::Signal { name, core_dumped } => {
                        out.u8(NO);
                        out.bytes(name.as_bytes());
                        out.u8(u8::from(*core_dumped));
                    }
                }
            }
        }
        out.into_bytes()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        let answer = match reader.u8()? {
            READY => Self::Ready { public_key: reader.bytes()?.to_vec() },
            POLICY => Self::Policy(take(reader, |reader| Ok(reader.u64()?.cast_signed()), take_words)?),
            SIGNED => {
                Self::Signed(reader.u32()?, take(reader, |reader| Ok(reader.bytes()?.to_vec()), take_words)?)
            }
            JUDGED => Self::Judged(reader.u32()?, take(reader, |reader| Ok(reader.u64()?), take_denied)?),
            LAUNCHED => Self::Launched(reader.u32()?, take(reader, take_running, take_denied)?),
            ENDED => Self::Ended(reader.u64()?, take_exit(reader)?),
            _ => return Err(Malformed),
        };
        match reader.u8() {
            Ok(_) => Err(Malformed),
            Err(_) => Ok(answer),
        }
    }
}

fn put<T, E>(
    out: &mut Writer,
    outcome: &Result<T, E>,
    yes: impl FnOnce(&mut Writer, &T),
    no: impl FnOnce(&mut Writer, &E),
) {
    match outcome {
        Ok(value) => {
            out.u8(YES);
            yes(out, value);
        }
        Err(error) => {
            out.u8(NO);
            no(out, error);
        }
    }
}

fn take<T, E>(
    reader: &mut Reader<'_>,
    yes: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    no: impl FnOnce(&mut Reader<'_>) -> Result<E, Malformed>,
) -> Result<Result<T, E>, Malformed> {
    match reader.u8()? {
        YES => yes(reader).map(Ok),
        NO => no(reader).map(Err),
        _ => Err(Malformed),
    }
}

fn running(out: &mut Writer, running: &Running) {
    let Running { session, pid, uid } = *running;
    out.u64(session);
    out.u32(pid);
    out.u32(uid);
}

fn take_running(reader: &mut Reader<'_>) -> Result<Running, Malformed> {
    Ok(Running { session: reader.u64()?, pid: reader.u32()?, uid: reader.u32()? })
}

fn denied(out: &mut Writer, denied: &Denied) {
    out.bytes(denied.code.as_bytes());
    words(out, &denied.reason);
}

fn take_denied(reader: &mut Reader<'_>) -> Result<Denied, Malformed> {
    Ok(Denied { code: reader.text()?.to_owned(), reason: take_words(reader)? })
}

fn words(out: &mut Writer, words: &String) {
    out.bytes(&words.as_bytes()[..words.floor_char_boundary(MAX_WORDS)]);
}

fn take_words(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    Ok(reader.text()?.to_owned())
}

fn take_exit(reader: &mut Reader<'_>) -> Result<Exit, Malformed> {
    match reader.u8()? {
        YES => Ok(Exit::Code(reader.u8()?)),
        NO => Ok(Exit::by_signal(reader.text()?, reader.u8()? != 0)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Answer, Denied, Exit, Running};

    #[test]
    fn every_answer_comes_back_and_nothing_shorter_or_longer_does() {
        let no = Denied::new("lock_in_force", "user alice is locked");
        for answer in [
            Answer::Ready { public_key: vec![1; 91] },
            Answer::Policy(Ok(-3)),
            Answer::Policy(Err("of another cluster".into())),
            Answer::Signed(1, Ok(vec![1; 70])),
            Answer::Signed(2, Err("another key was shown".into())),
            Answer::Judged(3, Ok(77)),
            Answer::Judged(4, Err(no.clone())),
            Answer::Launched(5, Ok(Running { session: 1, pid: 2, uid: 3 })),
            Answer::Launched(6, Err(no)),
            Answer::Ended(7, Exit::Code(255)),
            Answer::Ended(8, Exit::by_signal("TERM", true)),
            Answer::Ended(8, Exit::by_signal("PROF", false)),
        ] {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes), Ok(answer));
            for end in 0..bytes.len() {
                Answer::decode(&bytes[..end]).expect_err("cut");
            }
            Answer::decode(&[&bytes[..], &[0]].concat()).expect_err("longer");
        }
        let long = Answer::Policy(Err("ä".repeat(9000)));
        Answer::decode(&long.encode()).expect("cut between characters");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Answer::decode(&bytes);
        }
    }
}
