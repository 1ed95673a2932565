//! Copying from file to file on this side (`copy-data`).
//!
//! Between regular files alone: a device has no end, and whoever waits for one holds up every request behind this one.
//! Holes stay holes, so that a sparse file of any size is copied in the time that its data take.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{
    FallocateFlags, FileType, OFlags, SeekFrom, copy_file_range, fallocate, fcntl_getfl, fstat, ftruncate,
    seek,
};
use rustix::io::Errno;

use super::status::{Code, Refusal};

/// The most at once, so that a signal is not kept waiting.
const PIECE: u64 = 16 << 20;
/// The same where the kernel cannot copy by itself.
const BUFFER: usize = 256 << 10;

const NOT_REGULAR: Refusal = Refusal::new(Code::Failure, "Only between regular files");
const SAME_FILE: Refusal = Refusal::new(Code::Failure, "Source and destination are one file");

/// What to copy.
pub(super) struct Copy<'a> {
    pub(super) from: &'a File,
    pub(super) from_offset: u64,
    /// 0 is all until the end.
    pub(super) length: u64,
    pub(super) to: &'a File,
    pub(super) to_offset: u64,
}

/// What comes next at a place of the source.
enum Next {
    Data(u64),
    Hole(u64),
    End,
}

impl Copy<'_> {
    /// Copies, and says how many bytes of data that were. Where the source ends early what was there is copied, and the
    /// answer is "end of file".
    pub(super) fn run(self) -> (u64, Result<(), Refusal>) {
        let mut copied = 0;
        let outcome = self.run_counting(&mut copied);
        (copied, outcome)
    }

    fn run_counting(mut self, copied: &mut u64) -> Result<(), Refusal> {
        let (source, destination) = (fstat(self.from)?, fstat(self.to)?);
        if [&source, &destination]
            .iter()
            .any(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile)
        {
            return Err(NOT_REGULAR);
        }
        if (source.st_dev, source.st_ino) == (destination.st_dev, destination.st_ino) {
            return Err(SAME_FILE);
        }
        let until_end = self.length == 0;
        let mut left = if until_end { u64::MAX } else { self.length };
        let end =
            |offset: u64| offset.checked_add(if until_end { 0 } else { self.length }).ok_or(Errno::INVAL);
        if [end(self.from_offset)?, end(self.to_offset)?].iter().any(|end| i64::try_from(*end).is_err()) {
            return Err(Errno::INVAL.into());
        }
        let appends = fcntl_getfl(self.to)?.contains(OFlags::APPEND);
        let mut buffer = Vec::new();
        while left > 0 {
            let next = if appends { Next::Data(left) } else { self.next()? };
            let done = match next {
                Next::Hole(length) if self.skip(length.min(left))? => length.min(left),
                Next::Hole(length) | Next::Data(length) => {
                    let count = self.piece(length.min(left), appends, &mut buffer)?;
                    *copied = copied.saturating_add(count);
                    count
                }
                Next::End => 0,
            };
            if done == 0 {
                return if until_end { Ok(()) } else { Err(Refusal::EOF) };
            }
            left -= done;
            self.from_offset += done;
            self.to_offset += done;
        }
        Ok(())
    }

    /// Where data and holes are; all is data where the file system does not tell.
    fn next(&self) -> Result<Next, Errno> {
        let at = self.from_offset;
        match seek(self.from, SeekFrom::Data(at)) {
            Ok(data) if data > at => Ok(Next::Hole(data - at)),
            Ok(_) => Ok(Next::Data(
                seek(self.from, SeekFrom::Hole(at)).map_or(PIECE, |hole| hole.saturating_sub(at).max(1)),
            )),
            Err(Errno::NXIO) => {
                let size = u64::try_from(fstat(self.from)?.st_size).unwrap_or(0);
                // What reports no size, such as the files of /proc, is asked for its end by reading.
                Ok(if size > at {
                    Next::Hole(size - at)
                } else if size == 0 {
                    Next::Data(PIECE)
                } else {
                    Next::End
                })
            }
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::SPIPE) => Ok(Next::Data(PIECE)),
            Err(error) => Err(error),
        }
    }

    /// Makes a hole of this length in the destination; `false` where it cannot have one there.
    fn skip(&self, length: u64) -> Result<bool, Errno> {
        let size = u64::try_from(fstat(self.to)?.st_size).unwrap_or(0);
        let end = self.to_offset.checked_add(length).ok_or(Errno::FBIG)?;
        if self.to_offset < size {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if fallocate(self.to, flags, self.to_offset, length.min(size - self.to_offset)).is_err() {
                return Ok(false);
            }
        }
        if end > size {
            ftruncate(self.to, end)?;
        }
        Ok(true)
    }

    /// Copies up to `length` bytes of data; none are the end of the source.
    fn piece(&self, length: u64, appends: bool, buffer: &mut Vec<u8>) -> Result<u64, Refusal> {
        let length = length.min(PIECE);
        let (mut from, mut to) = (self.from_offset, self.to_offset);
        if !appends && buffer.is_empty() {
            let wanted = usize::try_from(length).unwrap_or(usize::MAX);
            match copy_file_range(self.from, Some(&mut from), self.to, Some(&mut to), wanted) {
                Ok(count) if count > 0 => return Ok(u64::try_from(count).unwrap_or(0)),
                Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => {
                    return Err(error.into());
                }
                // The end, a file without a size, or a file system that cannot: reading tells.
                Ok(_) | Err(_) => {}
            }
        }
        buffer.resize(BUFFER, 0);
        let wanted = usize::try_from(length).unwrap_or(BUFFER).min(BUFFER);
        let count = loop {
            match self.from.read_at(&mut buffer[..wanted], self.from_offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome?,
            }
        };
        self.to.write_all_at(&buffer[..count], self.to_offset)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}
