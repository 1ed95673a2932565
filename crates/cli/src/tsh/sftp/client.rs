//! Requests and their answers over one stream.

use super::SftpError;
use super::attributes::Attributes;
use super::packet::{Input, Output, Reply, kind};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

/// The version that everybody speaks.
const VERSION: u32 = 3;
/// No answer is longer; servers send at most what was asked for, plus a head.
const LONGEST: u32 = 256 << 10;
/// Requests that may wait for the stream.
const QUEUE: usize = 16;

/// A file or directory that the server has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle(Vec<u8>);

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// To be read.
    Read,
    /// To be written from its beginning, made with these permissions when it is not there.
    Write(u32),
}

/// A session with an SFTP server; clones use the same.
#[derive(Debug, Clone)]
pub struct Sftp {
    requests: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
    next: Arc<AtomicU32>,
}

type Answer = Result<Reply, SftpError>;

/// Who waits for which answer; nobody can once the stream has ended.
#[derive(Debug, Default)]
struct Waiting(Mutex<Waiters>);

#[derive(Debug)]
enum Waiters {
    Open(HashMap<u32, oneshot::Sender<Answer>>),
    Ended(SftpError),
}

impl Default for Waiters {
    fn default() -> Self {
        Self::Open(HashMap::new())
    }
}

impl Waiting {
    fn add(&self, id: u32) -> Result<oneshot::Receiver<Answer>, SftpError> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Waiters::Ended(error) => Err(error.clone()),
            Waiters::Open(waiters) => {
                let (sender, receiver) = oneshot::channel();
                waiters.insert(id, sender);
                Ok(receiver)
            }
        }
    }

    fn answer(&self, id: u32, reply: Reply) -> Result<(), SftpError> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Waiters::Ended(error) => Err(error.clone()),
            Waiters::Open(waiters) => {
                let waiter = waiters
                    .remove(&id)
                    .ok_or(SftpError::Protocol("an answer to a question that nobody asked"))?;
                // Whoever asked may have given up.
                let _ = waiter.send(Ok(reply));
                Ok(())
            }
        }
    }

    fn end(&self, error: SftpError) {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Waiters::Open(open) = std::mem::replace(&mut *waiters, Waiters::Ended(error.clone())) {
            for (_, waiter) in open {
                let _ = waiter.send(Err(error.clone()));
            }
        }
    }
}

impl Sftp {
    /// Greets the server behind `stream`.
    pub async fn start<S>(stream: S) -> Result<Self, SftpError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (mut from, mut to) = tokio::io::split(stream);
        let mut hello = Output::new(kind::INIT, 4);
        hello.u32(VERSION);
        to.write_all(&hello.finish()).await.map_err(|_| SftpError::Closed)?;
        let version = packet(&mut from).await?;
        match version.split_first() {
            Some((&kind::VERSION, rest)) if Input(rest).u32().is_some_and(|version| version >= VERSION) => {}
            _ => return Err(SftpError::Protocol("it does not speak version 3")),
        }
        let (requests, mut queue) = mpsc::channel::<Vec<u8>>(QUEUE);
        let waiting = Arc::new(Waiting::default());
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            let error = loop {
                let outcome = match packet(&mut from).await {
                    Ok(packet) => Reply::read(&packet)
                        .ok_or(SftpError::Protocol("an answer that cannot be read"))
                        .and_then(|(id, reply)| answered.answer(id, reply)),
                    Err(error) => Err(error),
                };
                if let Err(error) = outcome {
                    break error;
                }
            };
            answered.end(error);
        });
        tokio::spawn(async move {
            while let Some(request) = queue.recv().await {
                if to.write_all(&request).await.is_err() {
                    return;
                }
            }
            let _ = to.shutdown().await;
        });
        Ok(Self { requests, waiting, next: Arc::new(AtomicU32::new(1)) })
    }

    /// Opens a file.
    pub async fn open(&self, path: &[u8], how: Open) -> Result<Handle, SftpError> {
        let (flags, attributes) = match how {
            Open::Read => (1, Attributes::default()),
            // Write, create, truncate.
            Open::Write(mode) => (2 | 8 | 16, Attributes { mode: Some(mode), ..Attributes::default() }),
        };
        self.handle(kind::OPEN, path, |output| {
            output.u32(flags);
            attributes.write(output);
        })
        .await
    }

    /// Opens a directory to be listed.
    pub async fn open_directory(&self, path: &[u8]) -> Result<Handle, SftpError> {
        self.handle(kind::OPENDIR, path, |_| {}).await
    }

    /// Closes what is open; only now is a written file known to be whole.
    pub async fn close(&self, handle: Handle) -> Result<(), SftpError> {
        self.done(kind::CLOSE, &handle.0, |_| {}).await
    }

    /// Reads up to `length` bytes; fewer are not the end, the status for it is.
    pub async fn read(&self, handle: &Handle, offset: u64, length: u32) -> Result<Vec<u8>, SftpError> {
        let reply = self.ask(kind::READ, &handle.0, 16, |output| {
            output.u64(offset);
            output.u32(length);
        });
        match reply.await? {
            Reply::Data(data) if data.len() > length as usize => {
                Err(SftpError::Protocol("more data than asked for"))
            }
            Reply::Data(data) if data.is_empty() => Err(SftpError::Protocol("data without any")),
            Reply::Data(data) => Ok(data),
            other => Err(unexpected(other)),
        }
    }

    /// Writes at `offset`.
    pub async fn write(&self, handle: &Handle, offset: u64, data: &[u8]) -> Result<(), SftpError> {
        let reply = self.ask(kind::WRITE, &handle.0, data.len() + 16, |output| {
            output.u64(offset);
            output.bytes(data);
        });
        ok(reply.await?)
    }

    /// What a path names, through links.
    pub async fn stat(&self, path: &[u8]) -> Result<Attributes, SftpError> {
        match self.ask(kind::STAT, path, 0, |_| {}).await? {
            Reply::Attributes(attributes) => Ok(attributes),
            other => Err(unexpected(other)),
        }
    }

    /// Sets attributes of an open file.
    pub async fn set(&self, handle: &Handle, attributes: Attributes) -> Result<(), SftpError> {
        self.done(kind::FSETSTAT, &handle.0, |output| attributes.write(output)).await
    }

    /// Sets attributes of what a path names.
    pub async fn set_path(&self, path: &[u8], attributes: Attributes) -> Result<(), SftpError> {
        self.done(kind::SETSTAT, path, |output| attributes.write(output)).await
    }

    /// Makes a directory.
    pub async fn make_directory(&self, path: &[u8], mode: u32) -> Result<(), SftpError> {
        let attributes = Attributes { mode: Some(mode), ..Attributes::default() };
        self.done(kind::MKDIR, path, |output| attributes.write(output)).await
    }

    /// The next names in a directory; none at its end.
    pub async fn names(&self, handle: &Handle) -> Result<Vec<(Vec<u8>, Attributes)>, SftpError> {
        match self.ask(kind::READDIR, &handle.0, 0, |_| {}).await? {
            Reply::Names(names) => Ok(names),
            other => match unexpected(other) {
                end if end.is_end() => Ok(Vec::new()),
                error => Err(error),
            },
        }
    }

    async fn handle(
        &self,
        kind: u8,
        path: &[u8],
        rest: impl FnOnce(&mut Output),
    ) -> Result<Handle, SftpError> {
        match self.ask(kind, path, 32, rest).await? {
            // Section 6.3.
            Reply::Handle(handle) if handle.len() > 256 => {
                Err(SftpError::Protocol("a handle that is too long"))
            }
            Reply::Handle(handle) => Ok(Handle(handle)),
            other => Err(unexpected(other)),
        }
    }

    async fn done(&self, kind: u8, subject: &[u8], rest: impl FnOnce(&mut Output)) -> Result<(), SftpError> {
        ok(self.ask(kind, subject, 32, rest).await?)
    }

    /// Every request but the first begins with what it is about: a path or a handle.
    async fn ask(
        &self,
        kind: u8,
        subject: &[u8],
        capacity: usize,
        rest: impl FnOnce(&mut Output),
    ) -> Result<Reply, SftpError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut output = Output::new(kind, subject.len() + capacity);
        output.u32(id);
        output.bytes(subject);
        rest(&mut output);
        let answer = self.waiting.add(id)?;
        self.requests.send(output.finish()).await.map_err(|_| SftpError::Closed)?;
        answer.await.map_err(|_| SftpError::Closed)?
    }
}

fn ok(reply: Reply) -> Result<(), SftpError> {
    match reply {
        Reply::Status { code: 0, .. } => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> SftpError {
    match reply {
        Reply::Status { code: 0, .. } => SftpError::Protocol("a bare yes"),
        Reply::Status { code, words } => SftpError::Status { code, words },
        _ => SftpError::Protocol("an answer of the wrong kind"),
    }
}

async fn packet(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, SftpError> {
    let length = from.read_u32().await.map_err(|_| SftpError::Closed)?;
    if length == 0 || length > LONGEST {
        return Err(SftpError::Protocol("an answer that is too long or empty"));
    }
    let mut packet = vec![0; length as usize];
    from.read_exact(&mut packet).await.map_err(|_| SftpError::Closed)?;
    Ok(packet)
}
