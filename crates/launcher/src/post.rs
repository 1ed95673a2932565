//! One message over a socket that keeps messages apart (`SOCK_SEQPACKET`), with descriptors.
//!
//! A message that is larger than what such a socket takes travels in a file in memory that nobody can change any more: so
//! reading it never waits for whoever sent it. How it begins travels beside the file, so that it can be answered even where
//! the receiver has no room for another descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::protocol::{MAX_BYTES, MAX_DESCRIPTORS};

/// The longest message that travels by itself; well below what every kernel takes by default.
pub const INLINE: usize = 64 << 10;
/// With the file of a long message.
const DESCRIPTORS: usize = MAX_DESCRIPTORS + 1;

/// How much of a long message travels beside its file: its kind, and the number to answer by.
const BEGINNING: usize = 5;

const SHORT: u8 = 0;
const LONG: u8 = 1;

/// What arrived.
#[derive(Debug)]
pub struct Message {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What came with it; all close on exec.
    pub descriptors: Vec<OwnedFd>,
    /// Whether descriptors were lost, for which this process has no room: then there are none, and of a long message the
    /// bytes are its beginning.
    pub is_cut: bool,
}

/// A message that is ready to be sent, any number of times.
#[derive(Debug)]
pub struct Parcel {
    bytes: Vec<u8>,
    long: Option<OwnedFd>,
}

/// Why nothing was received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The other side is gone.
    #[error("the other side is gone")]
    Gone,
    /// Nothing is there now.
    #[error("nothing is there")]
    Nothing,
    /// It is not a message.
    #[error("not a message: {0}")]
    Malformed(&'static str),
    /// The system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Parcel {
    /// Packs it.
    pub fn new(bytes: Vec<u8>) -> io::Result<Self> {
        if bytes.len() < INLINE {
            return Ok(Self { bytes: [&[SHORT], &bytes[..]].concat(), long: None });
        }
        let file = memfd_create("message", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(file);
        file.write_all(&bytes)?;
        fcntl_add_seals(&file, seals())?;
        Ok(Self { bytes: [&[LONG], &bytes[..BEGINNING]].concat(), long: Some(file.into()) })
    }

    /// Sends it without waiting; [`io::ErrorKind::WouldBlock`] when it has to be tried again.
    pub fn send(&self, socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let all: Vec<BorrowedFd<'_>> =
            self.long.iter().map(AsFd::as_fd).chain(descriptors.iter().copied()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = all.len() <= DESCRIPTORS
            && (all.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(&all)));
        if !fits {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        let parts = [IoSlice::new(&self.bytes)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::io::retry_on_intr(|| sendmsg(&socket, &parts, &mut ancillary, flags))?;
        Ok(())
    }
}

/// Receives one message without waiting.
pub fn receive(socket: impl AsFd, buffer: &mut Vec<u8>) -> Result<Message, ReceiveError> {
    buffer.resize(INLINE + 1, 0);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received =
        rustix::io::retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags));
    let received = match received {
        Ok(received) => received,
        Err(rustix::io::Errno::AGAIN) => return Err(ReceiveError::Nothing),
        Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE) => return Err(ReceiveError::Gone),
        Err(error) => return Err(ReceiveError::Io(error.into())),
    };
    let mut descriptors: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|part| if let RecvAncillaryMessage::ScmRights(fds) = part { Some(fds) } else { None })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Err(ReceiveError::Gone);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(ReceiveError::Malformed("it is too long"));
    }
    // The kernel drops the descriptors that there is no room for.
    let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
    if is_cut {
        descriptors.clear();
    }
    let bytes = match (buffer[0], received.bytes) {
        (SHORT, length) => buffer[1..length].to_vec(),
        (LONG, length) if length == 1 + BEGINNING && is_cut => buffer[1..length].to_vec(),
        (LONG, length) if length == 1 + BEGINNING && !descriptors.is_empty() => open(descriptors.remove(0))?,
        _ => return Err(ReceiveError::Malformed("it has no kind")),
    };
    Ok(Message { bytes, descriptors, is_cut })
}

/// The content of a long message. Only files in memory can be sealed, so this is one, and reading it waits for nobody.
fn open(file: OwnedFd) -> Result<Vec<u8>, ReceiveError> {
    let sealed = fcntl_get_seals(&file).is_ok_and(|found| found.contains(seals()));
    if !sealed {
        return Err(ReceiveError::Malformed("its file can be changed"));
    }
    let file = File::from(file);
    let length = file.metadata()?.len();
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_BYTES);
    let length = length.ok_or(ReceiveError::Malformed("it is too long"))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair")
    }

    #[test]
    fn messages_of_all_lengths_arrive_whole_with_their_descriptors() {
        let (ours, theirs) = pair();
        for length in [0, 1, INLINE - 1, INLINE, INLINE + 1, 3 << 20] {
            let bytes = vec![7; length];
            Parcel::new(bytes.clone()).and_then(|parcel| parcel.send(&ours, &[ours.as_fd()])).expect("sent");
            let message = receive(&theirs, &mut Vec::new()).expect("received");
            assert!(message.bytes == bytes && message.descriptors.len() == 1, "{length}");
        }
        assert!(matches!(receive(&theirs, &mut Vec::new()), Err(ReceiveError::Nothing)));
        drop(ours);
        assert!(matches!(receive(&theirs, &mut Vec::new()), Err(ReceiveError::Gone)));
    }

    #[test]
    fn a_message_whose_descriptors_find_no_room_arrives_without_them() {
        let (ours, theirs) = pair();
        // More than one message can have: for the receiver it is the same as having no room.
        let too_many: Vec<_> = (0..4 * DESCRIPTORS).map(|_| ours.as_fd()).collect();
        for (kind, length) in [(SHORT, 9), (LONG, 1 + BEGINNING)] {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4 * DESCRIPTORS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&too_many)));
            let bytes = vec![kind; length];
            sendmsg(&ours, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::empty()).expect("sent");
            let message = receive(&theirs, &mut Vec::new()).expect("received");
            assert!(message.is_cut && message.descriptors.is_empty() && message.bytes.len() == length - 1);
        }
    }

    #[test]
    fn a_long_message_has_to_be_a_sealed_file_of_bounded_length() {
        let (ours, theirs) = pair();
        let (pipe, _writer) = std::io::pipe().expect("a pipe");
        let open = memfd_create("open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a file");
        let huge = memfd_create("huge", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a file");
        rustix::fs::ftruncate(&huge, MAX_BYTES as u64 + 1).expect("longer");
        fcntl_add_seals(&huge, seals()).expect("sealed");
        for file in [OwnedFd::from(pipe), open, huge] {
            let parcel = Parcel { bytes: vec![LONG; 1 + BEGINNING], long: Some(file) };
            parcel.send(&ours, &[]).expect("sent");
            assert!(matches!(receive(&theirs, &mut Vec::new()), Err(ReceiveError::Malformed(_))));
        }
        for bytes in [vec![LONG], vec![2, 1], vec![0; INLINE + 2]] {
            Parcel { bytes, long: None }.send(&ours, &[]).expect("sent");
            assert!(matches!(receive(&theirs, &mut Vec::new()), Err(ReceiveError::Malformed(_))));
        }
    }
}
