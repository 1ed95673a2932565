//! What arrived on a channel and was not taken yet, and the window that bounds it.
//!
//! A window is credited when data is taken, never when it arrives: what waits here is at most one window. Data lies in
//! large pieces for each stream, whatever the packets were, so that a peer that sends single bytes, or to both streams in
//! turn, costs no more than their number, and what was taken is not kept by what is left.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::channels::Stream;
use super::request::ExitSignal;
use super::spares::{PIECE, Spares};
use crate::error::Violation;

/// What arrives on a channel, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// Plain data.
    Data(Bytes),
    /// Data of another kind; 1 is standard error (RFC 4254, section 5.2).
    Extended {
        /// The kind.
        code: u32,
        /// The bytes.
        data: Bytes,
    },
    /// The other side sends no more data.
    Eof,
    /// The remote command ended with this status.
    ExitStatus(u32),
    /// A signal ended the remote command.
    ExitSignal(ExitSignal),
}

/// One kind of thing after another; data with the number of its bytes.
#[derive(Debug)]
enum Run {
    Data(Stream, u32),
    Eof,
    ExitStatus(u32),
    ExitSignal(Box<ExitSignal>),
}

#[derive(Debug)]
pub(super) struct Inbox {
    data: Lane,
    stderr: Lane,
    runs: VecDeque<Run>,
    /// What the peer may still send.
    window: u32,
    /// What the window is filled up to.
    target: u32,
    ended: bool,
    exited: bool,
    /// Nobody takes anything any more; what comes is dropped and credited.
    ignored: bool,
}

/// What waits of one stream, in pieces.
#[derive(Debug, Default)]
struct Lane {
    pieces: VecDeque<BytesMut>,
    length: usize,
}

/// Less than this at once, and nothing after it, and a stream does not run fast.
const LITTLE: usize = 16 << 10;
/// So many runs keep the order of the two streams to each other; what comes on top keeps that of its own stream only.
const MAX_RUNS: usize = 256;
/// The one kind of extended data that there is (RFC 4254, section 5.2).
const STDERR: u32 = 1;

impl Inbox {
    pub(super) fn new(window: u32) -> Self {
        Self {
            data: Lane::default(),
            stderr: Lane::default(),
            runs: VecDeque::new(),
            window,
            target: window,
            ended: false,
            exited: false,
            ignored: false,
        }
    }

    /// Data came. What says nothing is not kept: empty data, data after the end, and data of a kind that nobody knows.
    pub(super) fn data(
        &mut self,
        code: Option<u32>,
        data: &[u8],
        spares: &mut Spares,
    ) -> Result<(), Violation> {
        let length =
            u32::try_from(data.len()).map_err(|_| Violation::new("a packet has an impossible length"))?;
        let left = self.window.checked_sub(length);
        self.window = left.ok_or_else(|| Violation::new("more data than the window allows"))?;
        let stream = match code {
            None => Stream::Data,
            Some(STDERR) => Stream::Stderr,
            Some(_) => return Ok(()),
        };
        if length == 0 || self.ended || self.ignored {
            return Ok(());
        }
        let looked_at = if self.runs.len() < MAX_RUNS { 1 } else { self.runs.len() };
        let mut last = self.runs.iter_mut().rev().take(looked_at);
        match last.find_map(|run| run.length_of(stream)) {
            Some(run) => *run += length,
            None => self.runs.push_back(Run::Data(stream, length)),
        }
        self.lane(stream).put(data, spares);
        Ok(())
    }

    fn lane(&mut self, stream: Stream) -> &mut Lane {
        match stream {
            Stream::Data => &mut self.data,
            Stream::Stderr => &mut self.stderr,
        }
    }

    pub(super) fn eof(&mut self) {
        if !std::mem::replace(&mut self.ended, true) && !self.ignored {
            self.runs.push_back(Run::Eof);
        }
    }

    /// How the command ended is said once; what is said after that is not kept.
    pub(super) fn exit_status(&mut self, status: u32) {
        if !std::mem::replace(&mut self.exited, true) && !self.ignored {
            self.runs.push_back(Run::ExitStatus(status));
        }
    }

    pub(super) fn exit_signal(&mut self, signal: ExitSignal) {
        if !std::mem::replace(&mut self.exited, true) && !self.ignored {
            self.runs.push_back(Run::ExitSignal(Box::new(signal)));
        }
    }

    /// Takes what came first.
    pub(super) fn take(&mut self, spares: &mut Spares) -> Option<Inbound> {
        let inbound = match self.runs.pop_front()? {
            Run::Data(stream, length) => {
                let data = self.piece(stream, length, spares);
                match stream {
                    Stream::Data => Inbound::Data(data),
                    Stream::Stderr => Inbound::Extended { code: STDERR, data },
                }
            }
            Run::Eof => Inbound::Eof,
            Run::ExitStatus(status) => Inbound::ExitStatus(status),
            Run::ExitSignal(signal) => Inbound::ExitSignal(*signal),
        };
        Some(inbound)
    }

    fn piece(&mut self, stream: Stream, length: u32, spares: &mut Spares) -> Bytes {
        let piece = self.lane(stream).take(length as usize, spares);
        let left = length - u32::try_from(piece.len()).unwrap_or(length);
        if left > 0 {
            self.runs.push_front(Run::Data(stream, left));
        }
        if piece.len() < LITTLE && self.is_empty() {
            spares.clear();
        }
        piece
    }

    /// Nobody takes anything any more.
    pub(super) fn ignore(&mut self) {
        self.ignored = true;
        self.data = Lane::default();
        self.stderr = Lane::default();
        self.runs = VecDeque::new();
    }

    /// By how much the window should be adjusted now, if it is worth a message.
    pub(super) fn credit(&mut self) -> Option<u32> {
        let waiting = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let room = self.target.saturating_sub(self.window).saturating_sub(waiting);
        if self.ended || room < self.target / 2 {
            return None;
        }
        self.window += room;
        Some(room)
    }

    /// What the window is filled up to.
    pub(super) fn target(&self) -> u32 {
        self.target
    }

    /// What the peer may still send.
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    pub(super) fn grow(&mut self, target: u32) {
        self.target = self.target.max(target);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes that wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.data.length + self.stderr.length
    }
}

impl Lane {
    fn put(&mut self, mut data: &[u8], spares: &mut Spares) {
        self.length += data.len();
        while !data.is_empty() {
            let last = match self.pieces.back_mut() {
                Some(last) if last.len() < PIECE => last,
                _ => self.pieces.push_back_mut(spares.take()),
            };
            let (now, later) = data.split_at((PIECE - last.len()).min(data.len()));
            last.extend_from_slice(now);
            data = later;
        }
    }

    /// What is in front, and not more than `most`.
    fn take(&mut self, most: usize, spares: &mut Spares) -> Bytes {
        let Some(mut first) = self.pieces.pop_front() else { return Bytes::new() };
        let taken = if most < first.len() {
            let taken = first.split_to(most);
            self.pieces.push_front(first);
            taken
        } else {
            spares.hand_on(first)
        };
        self.length -= taken.len();
        taken.freeze()
    }
}

impl Run {
    /// The number of its bytes, if it is of this stream.
    fn length_of(&mut self, stream: Stream) -> Option<&mut u32> {
        match self {
            Self::Data(of, length) if *of == stream => Some(length),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Inbound, Inbox, MAX_RUNS, Spares};
    use bytes::Bytes;

    fn data(text: &'static str) -> Option<Inbound> {
        Some(Inbound::Data(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn packets_are_joined_and_kinds_keep_their_order() {
        let spares = &mut Spares::default();
        let mut inbox = Inbox::new(100);
        for (code, text) in [(None, "ab"), (None, "c"), (Some(1), "d"), (None, "e")] {
            inbox.data(code, text.as_bytes(), spares).expect("within the window");
        }
        inbox.exit_status(3);
        inbox.exit_status(4);
        inbox.eof();
        inbox.data(None, b"late", spares).expect("within the window");
        assert_eq!(inbox.take(spares), data("abc"));
        assert_eq!(inbox.take(spares), Some(Inbound::Extended { code: 1, data: Bytes::from_static(b"d") }));
        assert_eq!(inbox.take(spares), data("e"));
        assert_eq!(inbox.take(spares), Some(Inbound::ExitStatus(3)));
        assert_eq!(inbox.take(spares), Some(Inbound::Eof));
        assert_eq!(inbox.take(spares), None);
    }

    /// RFC 4254, section 5.2: not more than the window.
    #[test]
    fn rfc4254_5_2_the_window_is_a_limit() {
        let spares = &mut Spares::default();
        let mut inbox = Inbox::new(4);
        inbox.data(None, b"abc", spares).expect("within the window");
        assert!(inbox.data(Some(1), b"de", spares).is_err());
        assert!(inbox.data(None, b"d", spares).is_ok(), "extended data counts as well as plain");
        assert!(inbox.data(None, b"e", spares).is_err());
    }

    #[test]
    fn the_window_is_credited_when_data_is_taken_and_not_before() {
        let spares = &mut Spares::default();
        let mut inbox = Inbox::new(8);
        inbox.data(None, b"abcdefgh", spares).expect("within the window");
        assert_eq!(inbox.credit(), None, "nobody took it");
        assert_eq!(inbox.take(spares), data("abcdefgh"));
        assert_eq!(inbox.credit(), Some(8));
        assert_eq!(inbox.credit(), None, "once");
        inbox.grow(32);
        assert_eq!(inbox.credit(), Some(24));
        inbox.ignore();
        inbox.data(None, &[0; 32], spares).expect("within the window");
        assert_eq!(
            (inbox.len(), inbox.credit()),
            (0, Some(32)),
            "nobody wants it, so it is as good as taken"
        );
        inbox.eof();
        inbox.data(None, &[0; 20], spares).expect("within the window");
        assert_eq!(inbox.credit(), None, "there is nothing more to come");
    }

    /// What single bytes cost is their number, and a little for each change of their kind.
    #[test]
    fn single_bytes_are_kept_as_one_piece() {
        let spares = &mut Spares::default();
        let mut inbox = Inbox::new(1 << 20);
        for _ in 0..1 << 20 {
            inbox.data(None, b"x", spares).expect("within the window");
        }
        assert_eq!((inbox.runs.len(), inbox.len()), (1, 1 << 20));
        assert!(inbox.data.pieces.iter().map(bytes::BytesMut::capacity).sum::<usize>() <= 2 << 20);
        assert!(std::mem::size_of::<super::Run>() <= 16);
    }

    /// What was taken is gone, however little is left behind it.
    #[test]
    fn what_is_left_does_not_keep_what_was_taken() {
        const WINDOW: u32 = 16 << 20;
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux says it");
            statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
        };
        let before = resident();
        let inboxes: Vec<Inbox> = (0..16)
            .map(|_| {
                let spares = &mut Spares::default();
                let mut inbox = Inbox::new(WINDOW);
                for _ in 0..WINDOW >> 15 {
                    inbox.data(None, &[1; 1 << 15], spares).expect("within the window");
                }
                while inbox.len() > crate::connection::spares::PIECE {
                    inbox.take(spares);
                }
                inbox
            })
            .collect();
        assert_eq!(inboxes.iter().map(Inbox::len).sum::<usize>(), 16 * crate::connection::spares::PIECE);
        let kept = resident().saturating_sub(before);
        assert!(kept < 96 << 20, "{kept} bytes");
    }

    /// Bytes to both streams in turn cost no more than others, and each stream keeps its order.
    #[test]
    fn streams_in_turn_are_kept_as_two_pieces() {
        const WINDOW: u32 = 1 << 18;
        let spares = &mut Spares::default();
        let mut inbox = Inbox::new(WINDOW);
        let byte = |i: u32| (i / 2).to_be_bytes()[3];
        for i in 0..WINDOW {
            inbox.data((i % 2 == 1).then_some(1), &[byte(i)], spares).expect("within the window");
        }
        inbox.exit_status(0);
        inbox.eof();
        assert!(inbox.runs.len() <= MAX_RUNS + 2);
        let mut streams = [Vec::new(), Vec::new()];
        while let Some(inbound) = inbox.take(spares) {
            match inbound {
                Inbound::Data(data) => streams[0].extend_from_slice(&data),
                Inbound::Extended { code: 1, data } => streams[1].extend_from_slice(&data),
                Inbound::ExitStatus(0) | Inbound::Eof => {}
                other => panic!("{other:?}"),
            }
        }
        let expected: Vec<u8> = (0..WINDOW / 2).map(|i| byte(2 * i)).collect();
        assert!(streams.iter().all(|stream| *stream == expected));
    }

    #[test]
    fn rfc4254_5_2_other_kinds_of_data_are_dropped_and_credited() {
        let spares = &mut Spares::default();
        let mut inbox = Inbox::new(8);
        for code in [0, 2, u32::MAX] {
            inbox.data(Some(code), b"xx", spares).expect("within the window");
        }
        assert_eq!((inbox.len(), inbox.take(spares), inbox.credit()), (0, None, Some(6)));
        inbox.data(Some(2), &[0; 9], spares).expect_err("the window counts it");
    }
}
