//! The server's state and its dispatch: a table of which request is done where.

use std::io;

use super::handles::{Handle, Handles};
use super::longname::Owners;
use super::protocol::{self, Packet, ParseError, Request};
use super::reply::{Reply, hello};
use super::status::Refusal;
use super::{directory, extension, files, paths};

/// One client's server.
pub(super) struct Server {
    greeted: bool,
    handles: Handles,
    owners: Owners,
}

impl Server {
    pub(super) fn new() -> Self {
        Self { greeted: false, handles: Handles::new(), owners: Owners::default() }
    }

    /// Does what a packet asks for and appends the reply. An error is a client that does not speak the protocol: there
    /// is no answer to that.
    pub(super) fn handle(&mut self, packet: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let violation = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
        match protocol::parse(packet) {
            Ok(Packet::Init { .. }) if self.greeted => Err(violation("a second version packet")),
            Ok(Packet::Init { version: _ }) => {
                self.greeted = true;
                hello(out);
                Ok(())
            }
            _ if !self.greeted => Err(violation("a request before the version packet")),
            Ok(Packet::Request { id, request }) => {
                self.respond(id, request, out);
                Ok(())
            }
            Err(ParseError::Malformed { id }) => {
                Reply { id, out }.refuse(&Refusal::MALFORMED);
                Ok(())
            }
            Err(error @ ParseError::NoId) => Err(violation(&error.to_string())),
        }
    }

    fn respond(&mut self, id: u32, request: Request<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        if let Err(refusal) = self.answer(request, Reply { id, out: &mut *out }) {
            out.truncate(start);
            Reply { id, out }.refuse(&refusal);
        }
    }

    fn answer(&mut self, request: Request<'_>, reply: Reply<'_>) -> Result<(), Refusal> {
        let handles = &mut self.handles;
        match request {
            Request::Open { path, flags, attributes } => {
                let open = || Ok(Handle::File(files::open(path, flags, &attributes)?));
                reply.handle(&handles.open(open)?);
            }
            Request::Opendir { path } => {
                let open = || Ok(Handle::Directory(directory::open(path)?));
                reply.handle(&handles.open(open)?);
            }
            Request::Close { handle } => {
                files::close(handles.take(handle)?)?;
                reply.ok();
            }
            Request::Read { handle, offset, length } => {
                files::read(handles.file(handle)?, offset, length, reply)?
            }
            Request::Readdir { handle } => {
                directory::read(handles.directory(handle)?, &mut self.owners, reply)?
            }
            Request::Fstat { handle } => reply.attributes(&files::fstat(handles.find(handle)?)?),
            Request::Fstatvfs { handle } => extension::fstatvfs(handles.find(handle)?, reply)?,
            Request::Limits => extension::limits(handles.limit(), reply),
            Request::Lstat { path } => reply.attributes(&paths::lstat(path)?),
            Request::Stat { path } => reply.attributes(&paths::stat(path)?),
            Request::Realpath { path } => reply.path(paths::resolve(path)?),
            Request::Readlink { path } => reply.path(paths::readlink(path)?),
            Request::ExpandPath { path } => reply.path(extension::expand(path)?),
            Request::Statvfs { path } => extension::statvfs(path, reply)?,
            Request::Unknown => return Err(Refusal::UNSUPPORTED),
            change => {
                self.change(change)?;
                reply.ok();
            }
        }
        Ok(())
    }

    /// The requests whose answer is only whether they were done.
    fn change(&mut self, request: Request<'_>) -> Result<(), Refusal> {
        let handles = &mut self.handles;
        match request {
            Request::Write { handle, offset, data } => files::write(handles.file(handle)?, offset, data),
            Request::Fsetstat { handle, attributes } => files::fsetstat(handles.find(handle)?, &attributes),
            Request::Fsync { handle } => files::sync(handles.file(handle)?),
            Request::Setstat { path, attributes } => paths::setstat(path, &attributes),
            Request::Lsetstat { path, attributes } => paths::lsetstat(path, &attributes),
            Request::Remove { path } => paths::remove(path),
            Request::Mkdir { path, attributes } => paths::mkdir(path, &attributes),
            Request::Rmdir { path } => paths::rmdir(path),
            Request::Rename { from, to } => paths::rename(from, to),
            Request::PosixRename { from, to } => paths::replace(from, to),
            Request::Symlink { target, link } => paths::symlink(target, link),
            Request::Hardlink { from, to } => paths::hardlink(from, to),
            _ => Err(Refusal::UNSUPPORTED),
        }
    }
}
