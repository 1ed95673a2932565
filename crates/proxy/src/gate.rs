//! The connection to a node's address. What comes from there reaches the caller only after the server has shown who it is.
//!
//! Until then the server's bytes go through [`Witness`], and the message with its host key is held back; without it a caller
//! can make no keys, so nothing that it sends means anything to the server. Afterwards it is a stream like any other.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use transport::ssh::witness::{Sight, Witness};

use crate::host_key::{Judge, Misled};

/// How long both sides may take until the server has shown its key. sshd itself gives two minutes for a whole login.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much is read at once until then.
const CHUNK: usize = 4096;

/// Called once, when another server than the node stands there.
pub(crate) type OnMisled = Box<dyn FnOnce(&Misled) + Send>;

/// A stream from a server that has to show who it is first.
#[derive(Debug)]
pub(crate) struct Gate<S> {
    /// None once the server was turned away.
    inner: Option<S>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Watching(Box<Watching>),
    /// The server is the node. What was read before that was clear comes first.
    Open(Vec<u8>),
    /// It is not. These are the last words to the caller.
    Shut(Vec<u8>),
}

/// What the server is, when that is known.
type Verdict = Pin<Box<dyn Future<Output = Result<(), Misled>> + Send>>;

struct Watching {
    witness: Witness,
    /// What the server said and the caller has not got.
    held: Vec<u8>,
    /// How much of it, from its start, the caller may have.
    harmless: usize,
    judge: Judge,
    verdict: Option<Verdict>,
    patience: Pin<Box<Sleep>>,
    on_misled: Option<OnMisled>,
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").field("judge", &self.judge).finish_non_exhaustive()
    }
}

/// What the watch came to.
enum Turn {
    /// The caller may have so many bytes.
    Pass(usize),
    /// The server has ended the connection.
    End,
    Open,
    Shut(Misled),
}

impl<S> Gate<S> {
    /// In front of a stream nothing of which has been passed on.
    pub(crate) fn new(inner: S, judge: Judge, on_misled: OnMisled) -> Self {
        let watching = Watching {
            witness: Witness::default(),
            held: Vec::new(),
            harmless: 0,
            judge,
            verdict: None,
            patience: Box::pin(sleep(PATIENCE)),
            on_misled: Some(on_misled),
        };
        Self { inner: Some(inner), stage: Stage::Watching(Box::new(watching)) }
    }

    fn inner(&mut self) -> io::Result<Pin<&mut S>>
    where
        S: Unpin,
    {
        self.inner.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Watching {
    /// Watches until there is something to do.
    fn poll<S: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, inner: &mut S) -> Poll<io::Result<Turn>> {
        loop {
            if self.harmless > 0 {
                return Poll::Ready(Ok(Turn::Pass(self.harmless)));
            }
            if let Some(verdict) = &mut self.verdict {
                return verdict
                    .as_mut()
                    .poll(cx)
                    .map(|judged| Ok(judged.map_or_else(Turn::Shut, |()| Turn::Open)));
            }
            match self.witness.look(&self.held) {
                Ok(Sight::Harmless(count)) => self.harmless = count,
                Ok(Sight::HostKey(blob)) => {
                    self.verdict = Some(Box::pin(self.judge.clone().judge(blob.to_vec())));
                }
                Err(astray) => return Poll::Ready(Ok(Turn::Shut(self.judge.astray(astray)))),
                Ok(Sight::Nothing) => {
                    if self.patience.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    if ready!(self.poll_fill(cx, inner))? == 0 {
                        return Poll::Ready(Ok(Turn::End));
                    }
                }
            }
        }
    }

    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        inner: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut chunk = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut chunk);
        ready!(Pin::new(inner).poll_read(cx, &mut buffer))?;
        self.held.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// Hands out from the front of `bytes`; how many.
fn hand_out(bytes: &mut Vec<u8>, most: usize, buffer: &mut ReadBuf<'_>) -> usize {
    let count = bytes.len().min(most).min(buffer.remaining());
    buffer.put_slice(&bytes[..count]);
    if count == bytes.len() {
        // Give the memory back: the connection may live for days.
        *bytes = Vec::new();
    } else {
        bytes.drain(..count);
    }
    count
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, stage } = &mut *self;
        loop {
            let (watching, stream) = match (&mut *stage, inner.as_mut()) {
                (Stage::Open(held), Some(stream)) if held.is_empty() => {
                    return Pin::new(stream).poll_read(cx, buffer);
                }
                (Stage::Open(words) | Stage::Shut(words), _) => {
                    hand_out(words, usize::MAX, buffer);
                    return Poll::Ready(Ok(()));
                }
                (Stage::Watching(_), None) => return Poll::Ready(Ok(())),
                (Stage::Watching(watching), Some(stream)) => (watching, stream),
            };
            match ready!(watching.poll(cx, stream))? {
                Turn::Pass(count) => {
                    watching.harmless -= hand_out(&mut watching.held, count, buffer);
                    return Poll::Ready(Ok(()));
                }
                Turn::End => return Poll::Ready(Ok(())),
                Turn::Open => *stage = Stage::Open(std::mem::take(&mut watching.held)),
                Turn::Shut(misled) => {
                    let words = watching.witness.farewell(&misled.denied.line());
                    if let Some(on_misled) = watching.on_misled.take() {
                        on_misled(&misled);
                    }
                    // The server is left at once, whatever the caller does.
                    *inner = None;
                    *stage = Stage::Shut(words);
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
