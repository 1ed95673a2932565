//! One channel of a connection, in halves that can be used by different tasks.
//!
//! Requests are apart from data on purpose: a program that does not read its input must not keep a signal or a change
//! of the window size from being seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use russh::{ChannelWriteHalf, Sig, client, server};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::flow::{DRIBBLE, Flow, HIGH};
use super::ports::Release;

/// The channel or its whole connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel is closed")]
pub struct ChannelClosed;

/// What arrives on a channel, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// Plain data.
    Data(Bytes),
    /// Data of another kind; 1 is standard error (RFC 4254, section 5.2).
    Extended {
        /// The kind.
        code: u32,
        /// The bytes.
        data: Bytes,
    },
    /// The other side sends no more data. Only the client sees more after it.
    Eof,
    /// The remote command ended with this status.
    ExitStatus(u32),
    /// A signal ended the remote command.
    ExitSignal(ExitSignal),
}

/// How a signal ended a command (RFC 4254, section 6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitSignal {
    /// Without `SIG`.
    pub name: String,
    /// Whether a core image was written.
    pub core_dumped: bool,
    /// Words for the user; may be empty.
    pub message: String,
}

/// The size of a terminal window; pixels are 0 where unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a row.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
    /// Width in pixels.
    pub width_pixels: u32,
    /// Height in pixels.
    pub height_pixels: u32,
}

/// What a queued item takes besides its bytes, about: its place in the queue and the head of its allocation. Without it
/// a peer that sends single bytes would cost many times what is counted.
const ITEM: usize = 128;

impl Inbound {
    fn cost(&self) -> usize {
        ITEM + match self {
            Self::Data(data) | Self::Extended { data, .. } => data.len(),
            Self::ExitSignal(signal) => signal.name.len() + signal.message.len(),
            Self::Eof | Self::ExitStatus(_) => 0,
        }
    }

    /// The bytes of a packet that carries some.
    fn payload(&self) -> Option<usize> {
        match self {
            Self::Data(data) | Self::Extended { data, .. } => Some(data.len()),
            Self::Eof | Self::ExitStatus(_) | Self::ExitSignal(_) => None,
        }
    }
}

/// Puts what arrives into the queue of a [`Reader`].
#[derive(Debug)]
pub(super) struct Inlet {
    queue: mpsc::UnboundedSender<Inbound>,
    waiting: Waiting,
    /// No more data is taken.
    ended: bool,
}

/// What waits for the reader of one channel, in bytes of memory.
#[derive(Debug, Clone)]
struct Waiting {
    flow: Arc<Flow>,
    bytes: Arc<AtomicUsize>,
}

impl Inlet {
    pub(super) fn new(flow: Arc<Flow>) -> (Self, Reader) {
        let (queue, arrived) = mpsc::unbounded_channel();
        let waiting = Waiting { flow, bytes: Arc::default() };
        (Self { queue, waiting: waiting.clone(), ended: false }, Reader { arrived, waiting })
    }

    /// Never waits: the flow, not this queue, is what bounds it. Nobody reading means that it is dropped, and so is what
    /// says nothing: empty data, and data or a further end after the end.
    pub(super) fn put(&mut self, inbound: Inbound) {
        let payload = inbound.payload();
        let is_eof = inbound == Inbound::Eof;
        if payload == Some(0) || (self.ended && (is_eof || payload.is_some())) {
            return;
        }
        self.ended |= is_eof;
        let cost = inbound.cost();
        self.waiting.flow.touch();
        if self.is_high() && payload.is_some_and(|bytes| bytes <= DRIBBLE as usize) {
            self.waiting.flow.pace();
        }
        self.waiting.add(cost);
        if self.queue.send(inbound).is_err() {
            self.waiting.remove(cost);
        }
    }

    /// Whether the reader has enough to go on with.
    pub(super) fn is_high(&self) -> bool {
        self.waiting.bytes.load(Ordering::Acquire) >= HIGH
    }
}

impl Waiting {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.flow.queue(bytes);
    }

    fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.flow.take(bytes);
    }
}

/// The receiving half of a channel. Dropping it discards what the other side sends.
#[derive(Debug)]
pub struct Reader {
    arrived: mpsc::UnboundedReceiver<Inbound>,
    waiting: Waiting,
}

impl Reader {
    /// What arrives next; nothing once the channel is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Inbound> {
        let inbound = self.arrived.recv().await?;
        self.waiting.remove(inbound.cost());
        Some(inbound)
    }

    /// The next plain data; nothing after end of file or when the channel is closed. Cancel-safe.
    pub async fn data(&mut self) -> Option<Bytes> {
        loop {
            match self.next().await? {
                Inbound::Data(data) => return Some(data),
                Inbound::Eof => return None,
                Inbound::Extended { .. } | Inbound::ExitStatus(_) | Inbound::ExitSignal(_) => {}
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.arrived.close();
        while let Ok(inbound) = self.arrived.try_recv() {
            self.waiting.remove(inbound.cost());
        }
    }
}

/// The sending half of a channel; clones speak for the same channel. Every method waits while the other side grants no
/// window, and no longer than the channel is open. When the last clone is dropped the channel is closed.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Outlet>);

#[derive(Debug)]
struct Outlet {
    half: Arc<Half>,
    flow: Arc<Flow>,
    closed: CancellationToken,
    release: Release,
    /// Until the channel is confirmed there is nothing to close.
    open: AtomicBool,
}

#[derive(Debug)]
pub(super) enum Half {
    Server(ChannelWriteHalf<server::Msg>, server::Handle),
    Client(ChannelWriteHalf<client::Msg>),
}

/// Runs the same call on whichever half it is.
macro_rules! on_half {
    ($writer:expr, $half:ident => $call:expr) => {
        match &*$writer.0.half {
            Half::Server($half, _) => $writer.unless_closed($call).await,
            Half::Client($half) => $writer.unless_closed($call).await,
        }
    };
}

impl Writer {
    pub(super) fn new(half: Half, flow: Arc<Flow>, closed: CancellationToken, release: Release) -> Self {
        Self(Arc::new(Outlet { half: Arc::new(half), flow, closed, release, open: AtomicBool::new(false) }))
    }

    pub(super) fn half(&self) -> &Half {
        &self.0.half
    }

    pub(super) fn opened(&self) {
        self.0.open.store(true, Ordering::Release);
    }

    /// Sends data.
    pub async fn data(&self, data: Bytes) -> Result<(), ChannelClosed> {
        self.0.flow.touch();
        on_half!(self, half => half.data_bytes(data))
    }

    /// Sends to standard error.
    pub async fn stderr(&self, data: Bytes) -> Result<(), ChannelClosed> {
        self.0.flow.touch();
        on_half!(self, half => half.extended_data_bytes(1, data))
    }

    /// Says that no more data follows.
    pub async fn eof(&self) -> Result<(), ChannelClosed> {
        on_half!(self, half => half.eof())
    }

    /// Says how the command ended.
    pub async fn exit_status(&self, status: u32) -> Result<(), ChannelClosed> {
        on_half!(self, half => half.exit_status(status))
    }

    /// Says which signal ended the command. A client's channel has no command, so there it does nothing.
    pub async fn exit_signal(&self, signal: ExitSignal) -> Result<(), ChannelClosed> {
        let Half::Server(half, handle) = &*self.0.half else {
            return Ok(());
        };
        let ExitSignal { name, core_dumped, message } = signal;
        let name = signal_of(name);
        let sent = handle.exit_signal_request(half.id(), name, core_dumped, message, String::new());
        self.unless_closed(async { sent.await.map_err(|()| ChannelClosed) }).await
    }

    /// Closes the channel in both directions.
    pub async fn close(&self) {
        if self.0.open.swap(false, Ordering::AcqRel) {
            let _ = on_half!(self, half => half.close());
        }
        self.0.release.now();
    }

    /// Returns once the channel is closed, by either side.
    pub async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    /// Whether the channel is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.is_cancelled()
    }

    /// The engine waits for window even on a channel that is gone; this does not.
    pub(super) async fn unless_closed<E>(
        &self,
        sending: impl Future<Output = Result<(), E>>,
    ) -> Result<(), ChannelClosed> {
        tokio::select! {
            biased;
            () = self.0.closed.cancelled() => Err(ChannelClosed),
            sent = sending => sent.map_err(|_| ChannelClosed),
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.release.now();
        if !*self.open.get_mut() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // The engine has no way to close without waiting for its queue.
        let half = Arc::clone(&self.half);
        runtime.spawn(async move {
            match &*half {
                Half::Server(half, _) => half.close().await,
                Half::Client(half) => half.close().await,
            }
        });
    }
}

/// The engine's name of a signal.
pub(super) fn signal_of(name: String) -> Sig {
    match name.as_str() {
        "ABRT" => Sig::ABRT,
        "ALRM" => Sig::ALRM,
        "FPE" => Sig::FPE,
        "HUP" => Sig::HUP,
        "ILL" => Sig::ILL,
        "INT" => Sig::INT,
        "KILL" => Sig::KILL,
        "PIPE" => Sig::PIPE,
        "QUIT" => Sig::QUIT,
        "SEGV" => Sig::SEGV,
        "TERM" => Sig::TERM,
        "USR1" => Sig::USR1,
        _ => Sig::Custom(name),
    }
}

/// The name behind the engine's signal.
pub(super) fn signal_name(signal: Sig) -> String {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => return name,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Inbound, Inlet};
    use crate::ssh::flow::{Flow, MemoryBudget};
    use bytes::Bytes;

    #[tokio::test]
    async fn what_says_nothing_is_not_kept() {
        let (mut inlet, mut reader) = Inlet::new(Flow::new(MemoryBudget::new(1 << 30)));
        for _ in 0..1000 {
            inlet.put(Inbound::Data(Bytes::new()));
            inlet.put(Inbound::Extended { code: 1, data: Bytes::new() });
        }
        inlet.put(Inbound::Data(Bytes::from_static(b"x")));
        for _ in 0..1000 {
            inlet.put(Inbound::Eof);
            inlet.put(Inbound::Data(Bytes::from_static(b"late")));
        }
        inlet.put(Inbound::ExitStatus(3));
        drop(inlet);
        assert_eq!(reader.next().await, Some(Inbound::Data(Bytes::from_static(b"x"))));
        assert_eq!(reader.next().await, Some(Inbound::Eof));
        assert_eq!(reader.next().await, Some(Inbound::ExitStatus(3)), "how it ended is said after the end");
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn many_small_pieces_fill_a_connection_long_before_memory() {
        let flow = Flow::new(MemoryBudget::new(1 << 30));
        let (mut inlet, mut reader) = Inlet::new(flow.clone());
        let mut pieces = 0;
        while !flow.is_full() {
            inlet.put(Inbound::Data(Bytes::from_static(b"x")));
            pieces += 1;
            assert!(pieces < 1 << 20, "a million single bytes are more than a connection may keep");
        }
        for _ in 0..pieces {
            reader.next().await.expect("waits");
        }
        assert_eq!(flow.queued(), 0, "what was added is taken away again");
    }
}
