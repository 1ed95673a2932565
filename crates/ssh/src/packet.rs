//! The binary packet protocol (RFC 4253, section 6): one packet out of the input, one packet into the output.

use crate::algorithms::Cipher;
use crate::cipher::{LENGTH, Opening, Sealing, TAG};
use crate::error::Violation;
use crate::message::Disconnect;
use bytes::BufMut;

/// The longest packet that is taken (RFC 4253, section 6.1), without its length field and tag.
pub(crate) const MAX_PACKET: usize = 35_000;
/// The shortest: padding length, one byte of payload, least padding, to a whole block.
const MIN_PACKET: usize = 8;
const MIN_PADDING: usize = 4;
/// Blocks before there is a cipher (RFC 4253, section 6).
const PLAIN_BLOCK: usize = 8;

/// What has gone through one direction since its keys are in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
}

impl Used {
    fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.packets += 1;
    }
}

/// The receiving direction.
pub(crate) struct Incoming {
    key: Option<Opening>,
    sequence: u32,
    used: Used,
}

/// A packet that was opened.
pub(crate) struct Opened<'p> {
    /// How many bytes of the input it took.
    pub(crate) taken: usize,
    pub(crate) payload: &'p [u8],
}

impl Incoming {
    pub(crate) fn new() -> Self {
        Self { key: None, sequence: 0, used: Used::default() }
    }

    /// The packet at the front of `input`; nothing while it is not all there. The bytes of the packet are overwritten,
    /// so the caller must be done with them or take the payload at once.
    pub(crate) fn open<'p>(&mut self, input: &'p mut [u8]) -> Result<Option<Opened<'p>>, Violation> {
        let Some(head) = input.first_chunk::<LENGTH>() else { return Ok(None) };
        let (length, tag) = match &self.key {
            Some(key) => (key.length(self.sequence, *head), TAG),
            None => (u32::from_be_bytes(*head), 0),
        };
        let length = length as usize;
        if !(MIN_PACKET..=MAX_PACKET).contains(&length) {
            return Err(Violation::new("a packet has an impossible length"));
        }
        let taken = LENGTH + length + tag;
        let Some(packet) = input.get_mut(..taken) else { return Ok(None) };
        let body = match &mut self.key {
            Some(key) => &*key.open(self.sequence, packet).map_err(|_| {
                Violation::coded(Disconnect::MacError, "a packet is not authentic: it was changed on its way")
            })?,
            None => &packet[LENGTH..],
        };
        let payload = unpad(body)?;
        // Wraps as RFC 4253, section 6.4 has it; keys are changed long before (see `rekey`).
        self.sequence = self.sequence.wrapping_add(1);
        self.used.count(taken);
        Ok(Some(Opened { taken, payload }))
    }

    /// Takes new keys into use.
    pub(crate) fn rekey(&mut self, key: Opening, reset_sequence: bool) {
        self.key = Some(key);
        self.used = Used::default();
        if reset_sequence {
            self.sequence = 0;
        }
    }

    /// Whether no keys are in use yet.
    pub(crate) fn is_plain(&self) -> bool {
        self.key.is_none()
    }

    /// The number of the next packet.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    pub(crate) fn used(&self) -> Used {
        self.used
    }
}

fn unpad(body: &[u8]) -> Result<&[u8], Violation> {
    let impossible = || Violation::new("a packet has impossible padding");
    let (padding, rest) = body.split_first().ok_or_else(impossible)?;
    let padding = usize::from(*padding);
    let payload =
        rest.len().checked_sub(padding).filter(|_| padding >= MIN_PADDING).ok_or_else(impossible)?;
    if payload == 0 {
        return Err(Violation::new("a packet is empty"));
    }
    Ok(&rest[..payload])
}

/// The sending direction, and what waits to be sent.
pub(crate) struct Outgoing {
    key: Option<(Sealing, usize)>,
    sequence: u32,
    used: Used,
    output: Vec<u8>,
    #[cfg(fuzzing)]
    tamper: Option<crate::fuzzing::Tamper>,
}

impl Outgoing {
    pub(crate) fn new() -> Self {
        Self {
            key: None,
            sequence: 0,
            used: Used::default(),
            output: Vec::new(),
            #[cfg(fuzzing)]
            tamper: crate::fuzzing::prepared(),
        }
    }

    /// Appends bytes that are not a packet: the identification.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Appends a packet whose payload `write` appends.
    ///
    /// Under a cipher the padding is zeros: what is authenticated and encrypted has nothing to gain from more
    /// randomness (RFC 4253, section 6 says SHOULD for ciphers that need it).
    pub(crate) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        #[cfg(fuzzing)]
        if let Some(tamper) = &mut self.tamper {
            for message in tamper.of(write) {
                self.seal(|packet| packet.extend_from_slice(&message));
            }
            return;
        }
        self.seal(write);
    }

    fn seal(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.output.len();
        self.output.put_bytes(0, LENGTH + 1);
        write(&mut self.output);
        let payload = self.output.len() - start - LENGTH - 1;
        let (block, uncounted, tag) = match &self.key {
            Some((_, block)) => (*block, LENGTH, TAG),
            None => (PLAIN_BLOCK, 0, 0),
        };
        let unpadded = LENGTH + 1 + payload - uncounted;
        let short = block - unpadded % block;
        let padding = if short < MIN_PADDING { short + block } else { short };
        self.output.put_bytes(0, padding + tag);
        let length = u32::try_from(1 + payload + padding).expect("no message of ours is 4 GiB long");
        let packet = &mut self.output[start..];
        packet[..LENGTH].copy_from_slice(&length.to_be_bytes());
        packet[LENGTH] = u8::try_from(padding).expect("padding is less than two blocks");
        self.used.count(packet.len());
        if let Some((key, _)) = &mut self.key {
            key.seal(self.sequence, packet);
        }
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Takes new keys into use.
    pub(crate) fn rekey(&mut self, key: Sealing, cipher: Cipher, reset_sequence: bool) {
        self.key = Some((key, cipher.block()));
        self.used = Used::default();
        if reset_sequence {
            self.sequence = 0;
        }
    }

    pub(crate) fn used(&self) -> Used {
        self.used
    }

    /// What waits to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Exchanges the output for `empty`, whose room is used from now on.
    pub(crate) fn take(&mut self, empty: &mut Vec<u8>) {
        debug_assert!(empty.is_empty(), "what was taken before is sent");
        std::mem::swap(&mut self.output, empty);
    }
}

#[cfg(test)]
mod tests {
    use super::{Incoming, MAX_PACKET, Outgoing};
    use proptest::prelude::*;

    fn one(payload: &[u8]) -> Vec<u8> {
        let mut outgoing = Outgoing::new();
        outgoing.send(|message| message.extend_from_slice(payload));
        let mut output = Vec::new();
        outgoing.take(&mut output);
        output
    }

    /// RFC 4253, section 6: whole blocks, four to 255 bytes of padding.
    #[test]
    fn rfc4253_6_a_packet_is_whole_blocks() {
        for payload in 1..100 {
            let packet = one(&vec![1; payload]);
            assert_eq!(packet.len() % 8, 0);
            assert!((4..12).contains(&packet[4]), "{} bytes of padding", packet[4]);
            let mut packet = packet;
            let opened = Incoming::new().open(&mut packet).expect("good").expect("whole");
            assert_eq!(opened.payload, vec![1; payload]);
        }
    }

    /// RFC 4253, section 6.1, and lengths that overflow.
    #[test]
    fn rfc4253_6_1_impossible_lengths_are_refused_before_anything_else() {
        for length in [0, 1, 4, 7, MAX_PACKET as u32 + 1, 1 << 31, u32::MAX] {
            let mut packet = length.to_be_bytes().to_vec();
            assert!(Incoming::new().open(&mut packet).is_err(), "{length}");
        }
    }

    /// RFC 4253, section 6: padding that is too short or longer than the packet; an empty payload.
    #[test]
    fn rfc4253_6_impossible_padding_is_refused() {
        for padding in [0, 1, 3, 11, 12, 255] {
            let mut packet = one(b"abcdefg");
            packet[4] = padding;
            let outcome = Incoming::new().open(&mut packet);
            assert!(outcome.is_err(), "{padding}");
        }
    }

    proptest! {
        #[test]
        fn a_part_of_a_packet_is_no_packet(payload in proptest::collection::vec(any::<u8>(), 1..400), cut: usize) {
            let mut packet = one(&payload);
            let cut = cut % packet.len();
            let opened = Incoming::new().open(&mut packet[..cut]);
            prop_assert!(opened.expect("nothing wrong so far").is_none());
        }

        #[test]
        fn anything_is_read_without_panic(mut bytes: Vec<u8>) {
            let _ = Incoming::new().open(&mut bytes);
        }
    }
}
