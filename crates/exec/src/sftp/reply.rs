//! Replies (draft sections 6 and 7), written in place behind those that wait already.

use std::io;

use super::attributes::Attributes;
use super::protocol::{EXTENSIONS, VERSION};
use super::status::{Code, Refusal};
use crate::wire::Writer;

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
    pub(super) out: &'a mut Vec<u8>,
}

/// One entry of a name reply.
pub(super) struct Name {
    pub(super) name: Vec<u8>,
    pub(super) longname: Vec<u8>,
    pub(super) attributes: Attributes,
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

    /// Names.
    pub(super) fn names(self, names: &[Name]) {
        self.packet(NAME, |out| {
            out.u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
            for Name { name, longname, attributes } in names {
                out.bytes(name);
                out.bytes(longname);
                attributes.write(out);
            }
        });
    }

    /// One path.
    pub(super) fn path(self, path: Vec<u8>) {
        self.names(&[Name { longname: path.clone(), name: path, attributes: Attributes::default() }]);
    }

    /// The answer to an extension.
    pub(super) fn extended(self, fields: impl FnOnce(&mut Writer)) {
        self.packet(EXTENDED_REPLY, fields);
    }

    /// Up to `length` bytes of content, which `read` puts where they are sent from; none are the end of the file.
    pub(super) fn data(
        self,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Result<(), Refusal> {
        const HEAD: usize = 4 + 1 + 4 + 4;
        let start = self.out.len();
        self.out.resize(start + HEAD + length, 0);
        let count = read(&mut self.out[start + HEAD..])?.min(length);
        if count == 0 {
            return Err(Refusal::EOF);
        }
        self.out.truncate(start + HEAD + count);
        let mut head = Writer::default();
        head.u32(wire_length(HEAD - 4 + count));
        head.u8(DATA);
        head.u32(self.id);
        head.u32(wire_length(count));
        self.out[start..start + HEAD].copy_from_slice(&head.into_bytes());
        Ok(())
    }

    fn status(self, code: Code, message: &str) {
        self.packet(STATUS, |out| {
            out.u32(code as u32);
            out.bytes(message.as_bytes());
            out.bytes(b"");
        });
    }

    fn packet(self, kind: u8, fields: impl FnOnce(&mut Writer)) {
        let mut body = Writer::default();
        body.u8(kind);
        body.u32(self.id);
        fields(&mut body);
        append(self.out, &body.into_bytes());
    }
}

/// The server's first packet: version and extensions.
pub(super) fn hello(out: &mut Vec<u8>) {
    let mut body = Writer::default();
    body.u8(VERSION_PACKET);
    body.u32(VERSION);
    for (name, version) in EXTENSIONS {
        body.bytes(name.as_bytes());
        body.bytes(version.as_bytes());
    }
    append(out, &body.into_bytes());
}

fn append(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&wire_length(body.len()).to_be_bytes());
    out.extend_from_slice(body);
}

/// Everything that is sent is far smaller than this type.
fn wire_length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
