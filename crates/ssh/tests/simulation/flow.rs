//! What is known of one channel besides what its two ends know of it.

use ssh::connection::{ChannelId, Inbound, Stream};

pub const STREAMS: [Stream; 2] = [Stream::Data, Stream::Stderr];

/// A channel as one end sees it.
#[derive(Default)]
pub struct Side {
    pub id: Option<ChannelId>,
    pub open: bool,
    /// Bytes that the engine took, of each stream.
    pub written: [u64; 2],
    /// Bytes that it did not take yet; the stream, how many, and whether it said that there is room.
    pub backlog: Option<(usize, usize)>,
    pub writable: bool,
    pub eof_sent: bool,
    pub closed: bool,
    pub peer_closed: bool,
    pub ignored: bool,
    pub released: bool,
    /// Bytes that were taken, of each stream.
    pub read: [u64; 2],
    pub eof_read: bool,
    pub readable: bool,
    pub asked: u32,
    pub answers: u32,
    pub questions: u32,
}

/// A channel; the sides in the order of the ends.
#[derive(Default)]
pub struct Flow {
    pub sides: [Side; 2],
    pub refused: bool,
}

/// The byte at a place of a stream: none is like that of another stream.
fn byte(tag: u32, end: usize, stream: usize, at: u64) -> u8 {
    let mixed = at
        .wrapping_mul(0x9e37_79b9)
        .wrapping_add(u64::from(tag) * 131 + end as u64 * 17 + stream as u64 * 71);
    (mixed ^ (mixed >> 11) ^ (mixed >> 23)) as u8
}

/// What an end writes next.
pub fn piece(tag: u32, end: usize, stream: usize, at: u64, length: usize) -> Vec<u8> {
    (at..).take(length).map(|at| byte(tag, end, stream, at)).collect()
}

/// What is said to a question of this number.
pub fn answer(number: u32) -> bool {
    number.is_multiple_of(3)
}

impl Side {
    pub fn can_write(&self) -> bool {
        self.open && !self.eof_sent && !self.closed && !self.peer_closed && !self.released
    }

    /// Something was taken: it is what comes next.
    pub fn takes(&mut self, tag: u32, sender: usize, inbound: &Inbound) {
        let (stream, data) = match inbound {
            Inbound::Data(data) => (0, data),
            Inbound::Extended { code: 1, data } => (1, data),
            Inbound::Eof => {
                assert!(!self.eof_read, "one end");
                self.eof_read = true;
                return;
            }
            other => panic!("nobody sent {other:?}"),
        };
        assert!(!self.eof_read, "no data after the end");
        assert_eq!(data[..], piece(tag, sender, stream, self.read[stream], data.len()), "in order, once");
        self.read[stream] += data.len() as u64;
    }
}

impl Flow {
    /// Everything was delivered.
    pub fn check(&self, tag: u32) {
        for (end, side) in self.sides.iter().enumerate() {
            let other = &self.sides[1 - end];
            if side.can_write() && !other.ignored && !other.closed {
                assert_eq!(side.backlog, None, "channel {tag}: end {end} waits for room without end");
            }
            if other.closed || other.ignored || other.released || self.refused {
                continue;
            }
            assert_eq!(side.written, other.read, "channel {tag}: what end {end} wrote and the other read");
            assert_eq!(side.eof_sent, other.eof_read, "channel {tag}: the end of what end {end} wrote");
        }
        let (client, server) = (&self.sides[0], &self.sides[1]);
        if !self.sides.iter().any(|side| side.closed || side.released) {
            assert_eq!(
                (client.asked, client.answers),
                (server.questions, client.asked),
                "channel {tag}: answers"
            );
        }
    }
}
