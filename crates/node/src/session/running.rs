//! The third state: processes run, bytes flow.
//!
//! As with OpenSSH, a session is over when its first process has ended *and* nobody holds its output open any more.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use exec::{Exit, SessionSignal};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use transport::ssh::server::{Request, Requests};
use transport::ssh::{ExitSignal, Reader, Writer};

use super::Scope;
use super::ended::{Ended, How};
use super::launching::What;
use super::preparing::window;
use super::pump::{self, Ends, Stream, Terminal};
use super::transfers::Transfers;
use crate::launcher::{Launched, SessionHandle};

/// How long a session whose client went away is watched, for the record of its end.
const HANG_UP: Duration = Duration::from_secs(5);
/// How long the kernel may take to end what was killed.
const KILL: Duration = Duration::from_secs(1);
/// How long the last records of a file transfer may take to be reported.
const LAST_RECORDS: Duration = Duration::from_secs(10);
/// How long a client that is cut off may take to hear why.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The least time between two signals to one session.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(50);

/// A session whose processes run.
pub(super) struct Running {
    pub(super) scope: Scope,
    pub(super) requests: Requests,
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) launched: Launched,
    pub(super) what: What,
    pub(super) interactive: bool,
}

type Work<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl Running {
    /// Carries everything until the end, whoever brings it about.
    pub(super) async fn until_end(self) -> Ended {
        let Self { scope, requests, reader, writer, launched, what, interactive } = self;
        let started = Timestamp::now();
        let Launched { session, io, started: _ } = launched;
        let session = Arc::new(session);
        let (how, exit, records) = match Ends::new(io) {
            Ok((ends, records)) => {
                let transfers = records.map(|records| Transfers::new(scope.clone()).report(records));
                let records = transfers.map(|report| AbortOnDropHandle::new(tokio::spawn(report)));
                let parts = Parts { scope: &scope, writer: &writer, session: &session };
                let (how, exit) = parts.carry(ends, requests, reader).await;
                (how, exit, records)
            }
            Err(error) => (How::Broken(error.to_string()), None, None),
        };
        let (how, exit) = end(&scope, &session, (how, exit), &writer).await;
        if let Some(records) = records {
            // Nobody writes any more; what is left is read and told before the session's own end.
            let _ = tokio::time::timeout(LAST_RECORDS, records).await;
        }
        Ended { scope, what, interactive, started, how, exit }
    }
}

struct Parts<'a> {
    scope: &'a Scope,
    writer: &'a Writer,
    session: &'a Arc<SessionHandle>,
}

impl Parts<'_> {
    async fn carry(&self, ends: Ends, requests: Requests, reader: Reader) -> (How, Option<Exit>) {
        let writer = self.writer;
        let (input, output, terminal): (Work<'_>, Work<'_>, Option<Terminal>) = match ends {
            Ends::Pipes { stdin, stdout, stderr } => {
                let output = async move {
                    tokio::join!(
                        pump::from_pipe(stdout, Stream::Output, writer),
                        pump::from_pipe(stderr, Stream::Errors, writer)
                    );
                };
                (Box::pin(pump::into_pipe(reader, stdin)), Box::pin(output), None)
            }
            Ends::Terminal(terminal) => (
                Box::pin(pump::into_terminal(reader, Arc::clone(&terminal))),
                Box::pin(pump::from_terminal(Arc::clone(&terminal), writer)),
                Some(terminal),
            ),
        };
        // In a task of its own: requests must be answered even while output waits for the client.
        let steering = steer(requests, Arc::clone(self.session), terminal);
        let _steering = AbortOnDropHandle::new(tokio::spawn(steering));
        self.until_over(input, output).await
    }

    async fn until_over(&self, input: Work<'_>, mut output: Work<'_>) -> (How, Option<Exit>) {
        let (mut input, mut exit, mut drained) = (Some(input), None, false);
        let exited = self.session.exited();
        tokio::pin!(exited);
        loop {
            tokio::select! {
                ended = &mut exited, if exit.is_none() => {
                    exit = Some(ended);
                    // Nobody is left to read it.
                    input = None;
                    say(ended, self.writer).await;
                }
                () = &mut output, if !drained => drained = true,
                () = next(&mut input) => input = None,
                () = self.writer.closed() => return (How::Gone, exit),
                words = self.scope.connection.cut.thrown() => return (How::Cut(words.to_owned()), exit),
            }
            if drained && exit.is_some() {
                // Not before the exit is known: a client that has nothing to send either closes the channel on it, and
                // would neither hear of the exit nor let a process end that only closed its output.
                let _ = self.writer.eof().await;
                return (How::Normal, exit);
            }
        }
    }
}

async fn next(work: &mut Option<Work<'_>>) {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

/// Serves the requests of a session that runs: its size and signals. Everything else comes too late.
async fn steer(mut requests: Requests, session: Arc<SessionHandle>, terminal: Option<Terminal>) {
    let mut signals = Signals::new();
    loop {
        let request = tokio::select! {
            signal = signals.next() => {
                signals.sent(session.signal(signal));
                continue;
            }
            request = requests.next() => request,
        };
        match request {
            None => return,
            Some(Request::WindowChange(size)) => {
                if let Some(terminal) = &terminal {
                    let _ = exec::resize(terminal.get_ref(), window(size));
                }
            }
            Some(Request::Signal(name)) => signals.add(&name),
            Some(
                Request::Pty { reply, .. }
                | Request::Env { reply, .. }
                | Request::Exec { reply, .. }
                | Request::Subsystem { reply, .. }
                | Request::Shell(reply)
                | Request::AgentForward(reply)
                | Request::X11 { reply, .. },
            ) => reply.refuse(),
        }
    }
}

/// What a client wants to be sent: each signal once, and one after the other, however many it asks for. To send one takes a
/// look at every process of the session.
struct Signals {
    waiting: VecDeque<SessionSignal>,
    free: Instant,
}

impl Signals {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), free: Instant::now() }
    }

    fn add(&mut self, name: &str) {
        let signal = SessionSignal::from_name(name);
        self.waiting.extend(signal.filter(|signal| !self.waiting.contains(signal)));
    }

    /// The next one, when it is time for it. Cancel-safe: it stays until it was [sent](Self::sent).
    async fn next(&self) -> SessionSignal {
        match self.waiting.front() {
            Some(signal) => {
                tokio::time::sleep_until(self.free).await;
                *signal
            }
            None => std::future::pending().await,
        }
    }

    /// The next one was sent, or could not be just now.
    fn sent(&mut self, was_sent: bool) {
        self.free = Instant::now() + BETWEEN_SIGNALS;
        if was_sent {
            self.waiting.pop_front();
        }
    }
}

/// Tells the client how the first process ended.
async fn say(exit: Exit, writer: &Writer) {
    let _ = match exit {
        Exit::Code(code) => writer.exit_status(u32::from(code)).await,
        Exit::Signal { name, core_dumped } => {
            let signal = ExitSignal { name: name.to_owned(), core_dumped, message: String::new() };
            writer.exit_signal(signal).await
        }
    };
}

/// Sees to it that what should not go on does not.
async fn end(
    scope: &Scope,
    session: &SessionHandle,
    (how, exit): (How, Option<Exit>),
    writer: &Writer,
) -> (How, Option<Exit>) {
    match how {
        How::Gone if exit.is_none() => leave(scope, session).await,
        How::Cut(words) => {
            let said = writer.stderr(format!("\r\n{words}\r\n").into());
            let (said, killed) = tokio::join!(tokio::time::timeout(LAST_WORDS, said), kill(session));
            drop(said);
            (How::Cut(words), exit.or(killed))
        }
        How::Broken(reason) => (How::Broken(reason), kill(session).await),
        How::Normal | How::Gone => (how, exit),
    }
}

/// As with sshd, nobody ends what the client has left: a terminal that is closed hangs its processes up, and others find
/// the end of their input and nobody to read their output. What can live with that lives on, unless the node has a reason
/// of its own to end it.
async fn leave(scope: &Scope, session: &SessionHandle) -> (How, Option<Exit>) {
    tokio::select! {
        exit = session.exited() => (How::Gone, Some(exit)),
        words = scope.connection.cut.thrown() => (How::Cut(words.to_owned()), kill(session).await),
        () = nobody_is_left(scope) => {
            session.release();
            (How::Gone, None)
        }
    }
}

/// Returns when the connection is over, and some time has passed in which the session could end by itself. A client that
/// closes a session and keeps the connection (`ControlMaster`) answers for what it runs until then.
async fn nobody_is_left(scope: &Scope) {
    tokio::time::sleep(HANG_UP).await;
    scope.connection.handle.ended().await;
}

/// How it ended, unless even this does not end it soon.
async fn kill(session: &SessionHandle) -> Option<Exit> {
    session.kill();
    tokio::time::timeout(KILL, session.exited()).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_signals_is_each_of_them_once_and_not_all_at_once() {
        let (start, mut signals, mut names) = (Instant::now(), Signals::new(), Vec::new());
        for _ in 0..10_000 {
            ["TERM", "NONSENSE", "USR1"].into_iter().for_each(|name| signals.add(name));
        }
        assert_eq!(signals.waiting.len(), 2);
        for was_sent in [true, false, true] {
            names.push(signals.next().await.name());
            signals.sent(was_sent);
        }
        assert_eq!(names, ["TERM", "USR1", "USR1"]);
        assert!(start.elapsed() >= 2 * BETWEEN_SIGNALS);
        assert!(tokio::time::timeout(2 * BETWEEN_SIGNALS, signals.next()).await.is_err(), "no more");
    }
}
