//! The input as packets: each a 32-bit length and that many bytes, borrowed from one buffer of fixed size.

use std::io::{self, Read};

use super::MAX_PACKET;

const LENGTH: usize = 4;
/// Room for one largest packet and as much again, so that what a client sends ahead is read in few calls.
const CAPACITY: usize = 2 * (LENGTH + MAX_PACKET);

pub(super) struct Frames {
    /// Pages that are never touched take no memory, so an idle server stays small.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; CAPACITY], start: 0, end: 0 }
    }

    /// The next packet, or `None` when more input is needed.
    pub(super) fn next_packet(&mut self) -> io::Result<Option<&[u8]>> {
        let waiting = &self.buffer[self.start..self.end];
        let Some((length, rest)) = waiting.split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || length > MAX_PACKET {
            let reason = format!("a packet of {length} bytes; the limit is {MAX_PACKET}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let packet = self.start + LENGTH..self.start + LENGTH + length;
        self.start = packet.end;
        Ok(Some(&self.buffer[packet]))
    }

    /// A packet that has begun stays where it is for as long as there is room for all of it: moving it with every read
    /// would copy most of what is written a second time.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.start > 0 && self.buffer.len() - self.start < LENGTH + MAX_PACKET {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Reads more, once; `false` at the end of the input. An end within a packet is an error.
    pub(super) fn fill(&mut self, input: &mut impl Read) -> io::Result<bool> {
        self.make_room();
        loop {
            match input.read(&mut self.buffer[self.end..]) {
                Ok(0) if self.end == 0 => return Ok(false),
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the input ends within a packet",
                    ));
                }
                Ok(count) => {
                    self.end += count;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn all(mut input: impl Read) -> io::Result<Vec<Vec<u8>>> {
        let mut frames = Frames::new();
        let mut packets = Vec::new();
        loop {
            while let Some(packet) = frames.next_packet()? {
                packets.push(packet.to_vec());
            }
            if !frames.fill(&mut input)? {
                return Ok(packets);
            }
        }
    }

    fn frame(packet: &[u8]) -> Vec<u8> {
        let length = u32::try_from(packet.len()).expect("short");
        [&length.to_be_bytes()[..], packet].concat()
    }

    #[test]
    fn the_largest_packet_fits_behind_another() {
        let large = vec![7; MAX_PACKET];
        let input = [frame(b"a"), frame(&large), frame(b"b")].concat();
        assert_eq!(all(&input[..]).expect("three packets"), [b"a".to_vec(), large, b"b".to_vec()]);
    }

    #[test]
    fn lengths_out_of_range_and_cut_packets_are_errors() {
        for input in [&[0, 0, 0, 0][..], &[0xff; 8], &[0, 4, 0, 1, 0], &[0, 0], &[0, 0, 0, 2, 9]] {
            all(input).expect_err("not SFTP");
        }
    }

    /// Hands out its bytes in pieces of the given sizes.
    struct Pieces<'a>(&'a [u8], Vec<usize>);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.1.pop().unwrap_or(usize::MAX).clamp(1, buffer.len()).min(self.0.len());
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0 = &self.0[size..];
            Ok(size)
        }
    }

    proptest! {
        #[test]
        fn any_fragmentation_gives_the_same_packets(
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..20),
            sizes in proptest::collection::vec(1usize..30, 0..200),
        ) {
            let input = packets.iter().flat_map(|packet| frame(packet)).collect::<Vec<_>>();
            prop_assert_eq!(all(Pieces(&input, sizes)).expect("whole packets"), packets);
        }
    }
}
