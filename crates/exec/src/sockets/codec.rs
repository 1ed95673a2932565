//! [`Question`] and [`Reply`] to and from bytes. Total: whatever the bytes are, the outcome is a value within its bounds or
//! a reason.

use super::{Ask, Given, MAX_COOKIE, MAX_HOST, MAX_PATH, NewDisplay, Question, Refusal, RefusalKind, Reply};
use crate::wire::{Reader, WireError, Writer};

const CONNECT_TCP: u8 = 1;
const CONNECT_UNIX: u8 = 2;
const LISTEN_TCP: u8 = 3;
const LISTEN_UNIX: u8 = 4;
const AGENT: u8 = 5;
const DISPLAY: u8 = 6;
const RELEASE: u8 = 7;

const REFUSED: u8 = 0;
const CONNECTED: u8 = 1;
const LISTENING: u8 = 2;
const AGENT_READY: u8 = 3;
const DISPLAY_READY: u8 = 4;
const RELEASED: u8 = 5;

/// The longest name of a way to authenticate at a display.
const MAX_PROTOCOL: usize = 64;
/// The longest explanation; more is cut.
const MAX_WORDS: usize = 1024;

impl Question {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { id, ask } = self;
        let mut out = Writer::default();
        out.u32(*id);
        match ask {
            Ask::ConnectTcp { host, port } => tcp(&mut out, CONNECT_TCP, host, *port),
            Ask::ListenTcp { address, port } => tcp(&mut out, LISTEN_TCP, address, *port),
            Ask::ConnectUnix { path } => unix(&mut out, CONNECT_UNIX, path),
            Ask::ListenUnix { path } => unix(&mut out, LISTEN_UNIX, path),
            Ask::Agent => out.u8(AGENT),
            Ask::Display(NewDisplay { protocol, cookie, screen, offset, most }) => {
                out.u8(DISPLAY);
                out.bytes(protocol.as_bytes());
                out.bytes(cookie.as_bytes());
                out.u32(*screen);
                out.u16(*offset);
                out.u16(*most);
            }
            Ask::Release(id) => {
                out.u8(RELEASE);
                out.u32(*id);
            }
        }
        out.into_bytes()
    }

    /// What was asked; in the error, by which number, where that could be read.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, (u32, WireError)> {
        let mut reader = Reader::new(bytes);
        let id = reader.u32().map_err(|error| (0, error))?;
        let ask = ask(&mut reader).and_then(|ask| reader.finish().map(|()| ask));
        ask.map(|ask| Self { id, ask }).map_err(|error| (id, error))
    }
}

fn tcp(out: &mut Writer, tag: u8, host: &str, port: u16) {
    out.u8(tag);
    out.bytes(host.as_bytes());
    out.u16(port);
}

fn unix(out: &mut Writer, tag: u8, path: &[u8]) {
    out.u8(tag);
    out.bytes(path);
}

fn ask(reader: &mut Reader<'_>) -> Result<Ask, WireError> {
    Ok(match reader.u8()? {
        CONNECT_TCP => Ask::ConnectTcp { host: text(reader, MAX_HOST)?, port: reader.u16()? },
        LISTEN_TCP => Ask::ListenTcp { address: text(reader, MAX_HOST)?, port: reader.u16()? },
        CONNECT_UNIX => Ask::ConnectUnix { path: path(reader)? },
        LISTEN_UNIX => Ask::ListenUnix { path: path(reader)? },
        AGENT => Ask::Agent,
        DISPLAY => Ask::Display(display(reader)?),
        RELEASE => Ask::Release(reader.u32()?),
        _ => return Err(WireError::OutOfRange),
    })
}

fn display(reader: &mut Reader<'_>) -> Result<NewDisplay, WireError> {
    let display = NewDisplay {
        protocol: text(reader, MAX_PROTOCOL)?,
        cookie: text(reader, MAX_COOKIE)?,
        screen: reader.u32()?,
        offset: reader.u16()?,
        most: reader.u16()?,
    };
    if display.is_plain() { Ok(display) } else { Err(WireError::OutOfRange) }
}

impl NewDisplay {
    /// Whether each part is what it says it is, so that all of it can be told to `xauth`, which reads commands.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let Self { protocol, cookie, screen, offset, most } = self;
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=MAX_PROTOCOL).contains(&protocol.len())
            && protocol.bytes().all(name)
            && !protocol.starts_with('-')
            && (2..=MAX_COOKIE).contains(&cookie.len())
            && cookie.len().is_multiple_of(2)
            && cookie.bytes().all(|byte| byte.is_ascii_hexdigit())
            && *screen <= u32::from(u16::MAX)
            && offset <= most
    }
}

/// Without NUL: one at the start would name a socket outside of the file system, where no permissions count.
fn path(reader: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
    let path = reader.bytes()?;
    let fits = (1..=MAX_PATH).contains(&path.len()) && !path.contains(&0);
    if fits { Ok(path.to_vec()) } else { Err(WireError::OutOfRange) }
}

fn text(reader: &mut Reader<'_>, longest: usize) -> Result<String, WireError> {
    let text = reader.text()?;
    if text.len() > longest || text.contains('\0') { Err(WireError::OutOfRange) } else { Ok(text.to_owned()) }
}

impl Reply {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { id, outcome } = self;
        let mut out = Writer::default();
        out.u32(*id);
        match outcome {
            Err(Refusal { kind, words }) => {
                out.u8(REFUSED);
                out.u8(*kind as u8);
                let end = words.floor_char_boundary(words.len().min(MAX_WORDS));
                out.bytes(&words.as_bytes()[..end]);
            }
            Ok(Given::Connected) => out.u8(CONNECTED),
            Ok(Given::Listening { port }) => {
                out.u8(LISTENING);
                out.u16(*port);
            }
            Ok(Given::Agent { path: text }) => unix(&mut out, AGENT_READY, text.as_bytes()),
            Ok(Given::Display { name: text }) => unix(&mut out, DISPLAY_READY, text.as_bytes()),
            Ok(Given::Released) => out.u8(RELEASED),
        }
        out.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let id = reader.u32()?;
        let outcome = match reader.u8()? {
            REFUSED => Err(refusal(&mut reader)?),
            CONNECTED => Ok(Given::Connected),
            LISTENING => Ok(Given::Listening { port: reader.u16()? }),
            AGENT_READY => Ok(Given::Agent { path: text(&mut reader, MAX_PATH)? }),
            DISPLAY_READY => Ok(Given::Display { name: text(&mut reader, MAX_PATH)? }),
            RELEASED => Ok(Given::Released),
            _ => return Err(WireError::OutOfRange),
        };
        reader.finish()?;
        Ok(Self { id, outcome })
    }
}

fn refusal(reader: &mut Reader<'_>) -> Result<Refusal, WireError> {
    let kind = reader.u8()?;
    let kind =
        RefusalKind::ALL.into_iter().find(|known| *known as u8 == kind).ok_or(WireError::OutOfRange)?;
    let words = reader.text()?;
    // Names of the client's and of name services are in it; nothing of them may drive a terminal or break a log line.
    let words = words.chars().map(|c| if c.is_control() { '?' } else { c }).take(MAX_WORDS).collect();
    Ok(Refusal { kind, words })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn display() -> NewDisplay {
        NewDisplay {
            protocol: "MIT-MAGIC-COOKIE-1".to_owned(),
            cookie: "00ff".to_owned(),
            screen: 1,
            offset: 10,
            most: 1010,
        }
    }

    fn asks() -> Vec<Ask> {
        vec![
            Ask::ConnectTcp { host: "db.example.com".to_owned(), port: 5432 },
            Ask::ListenTcp { address: String::new(), port: 0 },
            Ask::ConnectUnix { path: b"/run/\xff".to_vec() },
            Ask::ListenUnix { path: b"/tmp/x".to_vec() },
            Ask::Agent,
            Ask::Display(display()),
            Ask::Release(9),
        ]
    }

    #[test]
    fn every_question_comes_back_whole_or_not_at_all() {
        for ask in asks() {
            let question = Question { id: 7, ask };
            let bytes = question.encode();
            assert_eq!(Question::decode(&bytes), Ok(question.clone()));
            for end in 0..bytes.len() {
                Question::decode(&bytes[..end]).expect_err("truncated");
            }
            Question::decode(&[&bytes[..], &[0]].concat()).expect_err("something follows");
        }
    }

    #[test]
    fn every_reply_comes_back_whole_or_not_at_all() {
        let given = [
            Given::Connected,
            Given::Listening { port: 2222 },
            Given::Agent { path: "/tmp/ssh-a/agent".to_owned() },
            Given::Display { name: "localhost:10.0".to_owned() },
            Given::Released,
        ];
        let refused = RefusalKind::ALL.map(|kind| Err(Refusal::new(kind, "not today")));
        for outcome in given.into_iter().map(Ok).chain(refused) {
            let reply = Reply { id: 8, outcome };
            let bytes = reply.encode();
            assert_eq!(Reply::decode(&bytes), Ok(reply.clone()));
            for end in 0..bytes.len() {
                Reply::decode(&bytes[..end]).expect_err("truncated");
            }
        }
    }

    #[test]
    fn what_could_be_taken_for_something_else_is_no_question() {
        let refused = |ask: Ask| {
            let bytes = Question { id: 3, ask }.encode();
            assert_eq!(Question::decode(&bytes).expect_err("out of range").0, 3);
        };
        refused(Ask::ConnectUnix { path: b"\0abstract".to_vec() });
        refused(Ask::ListenUnix { path: Vec::new() });
        refused(Ask::ListenUnix { path: vec![b'a'; MAX_PATH + 1] });
        refused(Ask::ConnectTcp { host: "a".repeat(MAX_HOST + 1), port: 1 });
        refused(Ask::ConnectTcp { host: "a\0b".to_owned(), port: 1 });
        let with = |change: fn(&mut NewDisplay)| {
            let mut changed = display();
            change(&mut changed);
            refused(Ask::Display(changed));
        };
        with(|display| display.cookie = "00\nquit".to_owned());
        with(|display| display.cookie = "000".to_owned());
        with(|display| display.cookie.clear());
        with(|display| display.protocol = "MIT\nsource /etc/passwd\n".to_owned());
        with(|display| display.protocol = "-v".to_owned());
        with(|display| display.offset = 2000);
        with(|display| display.screen = 65_536);
    }

    #[test]
    fn words_are_cut_and_cannot_drive_a_terminal() {
        let words = format!("\u{1b}]0;x\n{}", "é".repeat(2000));
        let reply = Reply { id: 1, outcome: Err(Refusal::new(RefusalKind::ConnectFailed, words)) };
        let refusal = Reply::decode(&reply.encode()).expect("a reply").outcome.expect_err("a refusal");
        assert!(refusal.words.starts_with("?]0;x?é") && refusal.words.len() <= MAX_WORDS);
    }

    #[test]
    fn cookies_are_shown_nowhere() {
        let shown = format!("{:?}", Question { id: 1, ask: Ask::Display(display()) });
        assert!(shown.contains("MIT-MAGIC") && !shown.contains("00ff"), "{shown}");
    }

    fn any_ask() -> impl Strategy<Value = Ask> {
        prop_oneof![
            ("[^\\x00]{0,60}", any::<u16>()).prop_map(|(host, port)| Ask::ConnectTcp { host, port }),
            proptest::collection::vec(1u8.., 1..MAX_PATH).prop_map(|path| Ask::ListenUnix { path }),
            any::<u32>().prop_map(Ask::Release),
        ]
    }

    proptest! {
        #[test]
        fn any_question_within_the_bounds_comes_back(id in any::<u32>(), ask in any_ask()) {
            let question = Question { id, ask };
            prop_assert_eq!(Question::decode(&question.encode()), Ok(question));
        }

        #[test]
        fn no_bytes_panic_and_none_are_read_in_two_ways(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(question) = Question::decode(&bytes) {
                prop_assert_eq!(question.encode(), bytes.clone());
            }
            let _ = Reply::decode(&bytes);
        }

        #[test]
        fn no_mutation_panics(which in 0usize..7, position in 0usize..200, value in any::<u8>()) {
            let mut bytes = Question { id: 1, ask: asks().swap_remove(which) }.encode();
            let position = position % bytes.len();
            bytes[position] = value;
            let _ = Question::decode(&bytes);
            let _ = Reply::decode(&bytes);
        }
    }
}
