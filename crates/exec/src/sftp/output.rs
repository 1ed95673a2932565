//! What waits to be written: replies, one behind the other, in memory that is used again.
//!
//! The buffer stays filled: content of files is read straight to where it is written from, and zeroing that place each
//! time would cost as much as reading it.

use std::io::{self, Write};

/// Everything that is sent is far smaller than this type.
fn wire_length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Packets under construction. A packet is begun, filled, and finished, which sets its length.
#[derive(Default)]
pub(super) struct Output {
    buffer: Vec<u8>,
    end: usize,
}

const LENGTH: usize = 4;

impl Output {
    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.end
    }

    /// Writes all that waits.
    pub(super) fn flush(&mut self, output: &mut impl Write) -> io::Result<()> {
        if self.end == 0 {
            return Ok(());
        }
        output.write_all(&self.buffer[..self.end])?;
        self.end = 0;
        output.flush()
    }

    /// Forgets what was put behind this many bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.end = self.end.min(length);
    }

    /// Begins a packet; what is put next belongs to it.
    pub(super) fn begin(&mut self, kind: u8, number: u32) -> Packet {
        let packet = Packet(self.end);
        self.u32(0);
        self.put(&[kind]);
        self.u32(number);
        packet
    }

    /// Ends the packet that was begun last.
    pub(super) fn finish(&mut self, Packet(start): Packet) {
        let length = wire_length(self.end - start - LENGTH);
        self.set_u32(start, length);
    }

    /// Room for so many bytes, filled with anything; they are part of the output once they are [`Output::keep`]t.
    pub(super) fn room(&mut self, length: usize) -> &mut [u8] {
        let needed = self.end + length;
        if self.buffer.len() < needed {
            self.buffer.resize(needed.next_multiple_of(4096), 0);
        }
        &mut self.buffer[self.end..needed]
    }

    /// So many bytes of the last [`Output::room`] are meant.
    pub(super) fn keep(&mut self, length: usize) {
        self.end = (self.end + length).min(self.buffer.len());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// Bytes with their length.
    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.u32(wire_length(value.len()));
        self.put(value);
    }

    /// Bytes as they are.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Changes a number that was put before, at this many bytes from the start.
    pub(super) fn set_u32(&mut self, at: usize, value: u32) {
        if let Some(place) = self.buffer[..self.end].get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// A length to be set later, where it will be.
    pub(super) fn later(&mut self) -> usize {
        let at = self.end;
        self.u32(0);
        at
    }
}

/// Where a packet begins that is not finished.
#[must_use]
pub(super) struct Packet(usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_their_length_and_the_buffer_is_used_again() {
        let mut output = Output::default();
        for round in 0..3 {
            let packet = output.begin(101, 7);
            output.bytes(b"abc");
            output.room(100)[..2].copy_from_slice(b"xy");
            output.keep(2);
            output.finish(packet);
            let kept = output.len();
            let dropped = output.begin(102, 8);
            output.finish(dropped);
            output.truncate(kept);
            let mut written = Vec::new();
            output.flush(&mut written).expect("memory");
            assert_eq!(written, b"\0\0\0\x0e\x65\0\0\0\x07\0\0\0\x03abcxy", "round {round}");
            assert_eq!(output.len(), 0);
        }
    }
}
