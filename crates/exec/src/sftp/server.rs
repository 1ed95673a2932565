//! The server's state and its dispatch: a table of which request is done where.

use std::io::{self, Write};

use super::audit::{Attempt, Audit};
use super::handles::{Handle, Handles};
use super::longname::Owners;
use super::output::Output;
use super::protocol::{self, Packet, ParseError, Request};
use super::reply::{Reply, hello};
use super::status::{Code, Refusal};
use super::{copy, directory, extension, files, paths};

/// One client's server.
pub(super) struct Server<W> {
    greeted: bool,
    handles: Handles,
    owners: Owners,
    audit: Audit,
    records: W,
}

impl<W: Write> Server<W> {
    pub(super) fn new(records: W) -> Self {
        let directory = rustix::process::getcwd(Vec::new()).unwrap_or_default();
        Self {
            greeted: false,
            handles: Handles::new(),
            owners: Owners::default(),
            audit: Audit::new(directory.as_bytes()),
            records,
        }
    }

    /// Does what a packet asks for and appends the reply. An error is a client that does not speak the protocol, to which
    /// there is no answer, or a node that takes no records.
    pub(super) fn handle(&mut self, packet: &[u8], out: &mut Output) -> io::Result<()> {
        let violation = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
        match protocol::parse(packet) {
            Ok(Packet::Init { .. }) if self.greeted => Err(violation("a second version packet")),
            Ok(Packet::Init { version: _ }) => {
                self.greeted = true;
                hello(out);
                Ok(())
            }
            _ if !self.greeted => Err(violation("a request before the version packet")),
            Ok(Packet::Request { id, request }) => self.respond(id, request, out),
            Err(ParseError::Malformed { id }) => {
                Reply { id, out }.refuse(&Refusal::MALFORMED);
                Ok(())
            }
            Err(error @ ParseError::NoId) => Err(violation(&error.to_string())),
        }
    }

    /// The end: what was transferred in all.
    pub(super) fn conclude(mut self) -> io::Result<()> {
        self.audit.flush(&mut self.records, true)
    }

    fn respond(&mut self, id: u32, request: Request<'_>, out: &mut Output) -> io::Result<()> {
        let start = out.len();
        let attempt = Attempt::of(&request, &self.handles);
        let listed = if let Request::Readdir { handle } = &request { Some(*handle) } else { None };
        let outcome = self.answer(request, Reply { id, out: &mut *out });
        if let Err(refusal) = &outcome {
            out.truncate(start);
            Reply { id, out }.refuse(refusal);
        }
        let unreadable = listed.filter(|_| outcome.as_ref().is_err_and(|refusal| refusal.code != Code::Eof));
        let attempt = attempt.or_else(|| Some(Attempt::readdir(self.handles.path(unreadable?))));
        if let Some(attempt) = attempt {
            self.audit.note(attempt, &outcome);
        }
        // At once: whatever comes after this operation, even the end of this process, it is on record.
        self.audit.flush(&mut self.records, false)
    }

    fn answer(&mut self, request: Request<'_>, reply: Reply<'_>) -> Result<(), Refusal> {
        let handles = &mut self.handles;
        match request {
            Request::Open { path, flags, attributes } => {
                let open = || Ok(Handle::File(files::open(path, flags, &attributes)?));
                reply.handle(&handles.open(path, open)?);
            }
            Request::Opendir { path } => {
                let open = || Ok(Handle::Directory(directory::open(path)?));
                reply.handle(&handles.open(path, open)?);
            }
            Request::Close { handle } => {
                files::close(handles.take(handle).map_err(|_| Refusal::NO_SUCH_HANDLE)?)?;
                reply.ok();
            }
            Request::Read { handle, offset, length } => {
                self.audit.read(size(files::read(handles.file(handle)?, offset, length, reply)?));
            }
            Request::Readdir { handle } => {
                directory::read(handles.directory(handle)?, &mut self.owners, reply)?
            }
            Request::Fstat { handle } => reply.attributes(&files::fstat(handles.find(handle)?)?),
            Request::Fstatvfs { handle } => extension::fstatvfs(handles.find(handle)?, reply)?,
            Request::Limits => extension::limits(handles.limit(), reply),
            Request::Lstat { path } => reply.attributes(&paths::lstat(path)?),
            Request::Stat { path } => reply.attributes(&paths::stat(path)?),
            Request::Realpath { path } => reply.path(&paths::resolve(path)?),
            Request::Readlink { path } => reply.path(&paths::readlink(path)?),
            Request::ExpandPath { path } => reply.path(&extension::expand(path)?),
            Request::HomeDirectory { user } => reply.path(&extension::home(user)?),
            Request::UsersGroupsById { users, groups } => {
                extension::names_by_id(users, groups, &mut self.owners, reply);
            }
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
        let handles = &self.handles;
        match request {
            Request::Write { handle, offset, data } => {
                files::write(handles.file(handle)?, offset, data)?;
                self.audit.wrote(size(data.len()));
                Ok(())
            }
            Request::CopyData { from, from_offset, length, to, to_offset } => {
                let copied = copy::Copy {
                    from: handles.file(from)?,
                    from_offset,
                    length,
                    to: handles.file(to)?,
                    to_offset,
                };
                let (bytes, outcome) = copied.run();
                self.audit.read(bytes);
                self.audit.wrote(bytes);
                outcome
            }
            Request::Fsetstat { handle, attributes } => files::fsetstat(handles.find(handle)?, &attributes),
            Request::Fsync { handle } => {
                files::sync(handles.file(handle).map_err(|_| Refusal::NO_SUCH_HANDLE)?)
            }
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

/// Sizes in memory fit the wire's largest number.
fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
