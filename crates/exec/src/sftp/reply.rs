//! Replies (draft sections 6 and 7), written in place behind those that wait already.

use std::io;

use super::attributes::Attributes;
use super::output::Output;
use super::protocol::{EXTENSIONS, VERSION};
use super::status::{Code, Refusal};

const VERSION_PACKET: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRIBUTES: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// Where the answer to one request goes. Exactly one method is called on it.
pub(super) struct Reply<'a> {
    pub(super) id: u32,
    pub(super) out: &'a mut Output,
}

impl Reply<'_> {
    /// "Done."
    pub(super) fn ok(self) {
        self.status(Code::Ok, "Success");
    }

    /// "Not done, because."
    pub(super) fn refuse(self, refusal: &Refusal) {
        self.status(refusal.code, &refusal.message);
    }

    /// A handle.
    pub(super) fn handle(self, handle: &[u8]) {
        self.packet(HANDLE, |out| out.bytes(handle));
    }

    /// A file's attributes.
    pub(super) fn attributes(self, attributes: &Attributes) {
        self.packet(ATTRIBUTES, |out| attributes.write(out));
    }

    /// As many names as `next` puts, which says whether there was one; none are the end of the directory.
    pub(super) fn names(
        self,
        mut next: impl FnMut(&mut Output) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let packet = self.out.begin(NAME, self.id);
        let (place, mut count) = (self.out.later(), 0);
        while next(self.out)? {
            count += 1;
        }
        if count == 0 {
            return Err(Refusal::EOF);
        }
        self.out.set_u32(place, count);
        self.out.finish(packet);
        Ok(())
    }

    /// One path.
    pub(super) fn path(self, path: &[u8]) {
        self.packet(NAME, |out| {
            out.u32(1);
            name(out, path, path, &Attributes::default());
        });
    }

    /// The answer to an extension.
    pub(super) fn extended(self, fields: impl FnOnce(&mut Output)) {
        self.packet(EXTENDED_REPLY, fields);
    }

    /// Up to `length` bytes of content, which `read` puts where they are sent from. None are the end of the file, unless
    /// none were asked for.
    pub(super) fn data(
        self,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<usize, Refusal> {
        let packet = self.out.begin(DATA, self.id);
        let place = self.out.later();
        let count = if length == 0 { 0 } else { read(self.out.room(length))?.min(length) };
        if count == 0 && length > 0 {
            return Err(Refusal::EOF);
        }
        self.out.keep(count);
        self.out.set_u32(place, u32::try_from(count).unwrap_or(u32::MAX));
        self.out.finish(packet);
        Ok(count)
    }

    fn status(self, code: Code, message: &str) {
        self.packet(STATUS, |out| {
            out.u32(code as u32);
            out.bytes(message.as_bytes());
            out.bytes(b"");
        });
    }

    fn packet(self, kind: u8, fields: impl FnOnce(&mut Output)) {
        let packet = self.out.begin(kind, self.id);
        fields(self.out);
        self.out.finish(packet);
    }
}

/// One entry of a name reply.
pub(super) fn name(out: &mut Output, name: &[u8], longname: &[u8], attributes: &Attributes) {
    out.bytes(name);
    out.bytes(longname);
    attributes.write(out);
}

/// The server's first packet: version and extensions.
pub(super) fn hello(out: &mut Output) {
    let packet = out.begin(VERSION_PACKET, VERSION);
    for (name, version) in EXTENSIONS {
        out.bytes(name.as_bytes());
        out.bytes(version.as_bytes());
    }
    out.finish(packet);
}
