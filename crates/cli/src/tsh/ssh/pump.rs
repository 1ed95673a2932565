//! Moves bytes between a session and the standard streams until the session is over.
//!
//! Output is written before more is taken, so a slow reader here slows the command there and nothing is lost at the end.

use super::keys::{Keys, Typed};
use super::terminal::window_size;
use crate::Failure;
use crate::tsh::exit::Exit;
use crate::tsh::failure::in_session;
use crate::tsh::standard;
use bytes::Bytes;
use std::io;
use tokio::io::AsyncWriteExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use transport::ssh::client::{Client, Controls, Session};
use transport::ssh::{Ended, Inbound, Reader, Writer};

/// What is joined to the session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// The host has a terminal for it: keys and the window size matter.
    pub(super) terminal: bool,
    /// Standard input is passed on.
    pub(super) input: bool,
}

/// Runs until the host closes the session, or somebody here ends it.
pub(super) async fn run(client: &Client, session: Session, ends: Ends) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    let controls = session.controls();
    let (reader, writer) = session.split();
    let keys = (ends.terminal && super::Terminal::is_here()).then_some(Keys::LineStart);
    let (leave, left) = mpsc::channel(1);
    let input = tokio::spawn(send_input(writer.clone(), ends.input, keys, leave));
    let resizing = ends.terminal.then(|| tokio::spawn(follow_window(controls)));
    let outcome = tokio::select! {
        outcome = take_output(client, reader) => outcome,
        number = signals.next() => Ok(Exit::Interrupted(number)),
        () = asked_to_leave(left) => Err(in_session(Failure::new("the session was left with ~."))),
    };
    input.abort();
    if let Some(resizing) = resizing {
        resizing.abort();
    }
    // A command that nobody listens to must not run on.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(500), writer.close()).await;
    outcome
}

/// Waits while only ports are forwarded.
pub(super) async fn until_ended(client: &Client) -> Result<Exit, Failure> {
    let mut signals = Signals::new()?;
    tokio::select! {
        ended = client.ended() => Err(ended.into()),
        number = signals.next() => Ok(Exit::Interrupted(number)),
    }
}

async fn take_output(client: &Client, mut reader: Reader) -> Result<Exit, Failure> {
    let (mut stdout, mut stderr) = (standard::output(io::stdout())?, standard::output(io::stderr())?);
    let mut exit = None;
    while let Some(inbound) = reader.next().await {
        match inbound {
            Inbound::Data(data) => write(&mut stdout, &data).await?,
            Inbound::Extended { code: 1, data } => write(&mut stderr, &data).await?,
            Inbound::ExitStatus(status) => exit = Some(Exit::Status(status)),
            Inbound::ExitSignal(signal) => exit = Some(Exit::Signal(signal)),
            Inbound::Extended { .. } | Inbound::Eof => {}
        }
    }
    match exit {
        Some(exit) => Ok(exit),
        None => Err(unfinished(client).await),
    }
}

/// Why a session ended without a word on its command: usually because the connection did.
async fn unfinished(client: &Client) -> Failure {
    let ended = tokio::time::timeout(std::time::Duration::from_secs(1), client.ended()).await;
    match ended {
        Ok(Ended::Peer(words)) if words.is_empty() => {
            in_session(Failure::new("the host closed the connection before the command ended"))
        }
        Ok(ended) => ended.into(),
        Err(_) => {
            in_session(Failure::new("the host closed the session without saying how the command ended"))
        }
    }
}

async fn write(to: &mut tokio::fs::File, data: &[u8]) -> Result<(), Failure> {
    let written = async {
        to.write_all(data).await?;
        to.flush().await
    };
    written.await.map_err(|error| match error.kind() {
        // As with `tsh ssh host yes | head -1`: an end, not an error to talk about.
        io::ErrorKind::BrokenPipe => in_session(Failure::new("")),
        _ => in_session(Failure::new(format!("cannot write the output: {error}"))),
    })
}

async fn send_input(writer: Writer, wanted: bool, mut keys: Option<Keys>, leave: mpsc::Sender<()>) {
    let mut input = if wanted { standard::input() } else { mpsc::channel(1).1 };
    while let Some(data) = input.recv().await {
        let data = match keys.as_mut().map(|keys| keys.typed(&data)) {
            Some(Typed::Leave) => {
                let _ = leave.send(()).await;
                return;
            }
            Some(Typed::Send(data)) => Bytes::from(data),
            None => data,
        };
        if writer.data(data).await.is_err() {
            return;
        }
    }
    let _ = writer.eof().await;
}

async fn asked_to_leave(mut left: mpsc::Receiver<()>) {
    if left.recv().await.is_none() {
        std::future::pending().await
    }
}

async fn follow_window(controls: Controls) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    while changed.recv().await.is_some() {
        let Some(size) = window_size() else { continue };
        if controls.window_change(size).await.is_err() {
            return;
        }
    }
}

/// The signals that end the program; caught, so that the terminal is given back first.
struct Signals([(Signal, i32); 4]);

impl Signals {
    fn new() -> Result<Self, Failure> {
        let catch = |kind: SignalKind| {
            signal(kind)
                .map(|signal| (signal, kind.as_raw_value()))
                .map_err(|error| Failure::new(format!("cannot catch signals: {error}")))
        };
        Ok(Self([
            catch(SignalKind::interrupt())?,
            catch(SignalKind::terminate())?,
            catch(SignalKind::hangup())?,
            catch(SignalKind::quit())?,
        ]))
    }

    async fn next(&mut self) -> i32 {
        let [(a, first), (b, second), (c, third), (d, fourth)] = &mut self.0;
        tokio::select! {
            _ = a.recv() => *first,
            _ = b.recv() => *second,
            _ = c.recv() => *third,
            _ = d.recv() => *fourth,
        }
    }
}
