//! The helper's half: takes questions until the node's end is closed.
//!
//! Each question is worked on in a thread of its own, because name services, remote hosts, network file systems and
//! `xauth` all may take their time, and one must not hold up another.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};

use super::keeper::{Keeper, Making};
use super::{
    Ask, Given, MAX_AT_ONCE, Question, Refusal, RefusalKind, Reply, agent, connect, display, listen, post,
};
use crate::sys::process;

/// What nobody gets on a socket that is made here: anything but reading and writing by the user.
const UMASK: Mode = Mode::XUSR.union(Mode::RWXG).union(Mode::RWXO);
/// Enough for name service modules.
const STACK: usize = 512 << 10;

struct Server {
    socket: OwnedFd,
    keeper: Keeper,
    /// For the programs that are run: the user's.
    environment: BTreeMap<String, String>,
    working: AtomicUsize,
}

/// Serves until the node's end of the socket is closed, and then removes what was made.
pub(crate) fn serve(socket: OwnedFd, environment: BTreeMap<String, String>) {
    umask(UMASK);
    // Whoever stops the node's service tells all of its processes. This one ends when the node does, and then cleans up.
    process::ignore_end_signals();
    // Otherwise other processes of the user could have it open what only this connection may.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let server = Server { socket, keeper: Keeper::default(), environment, working: AtomicUsize::new(0) };
    let server = Arc::new(server);
    while let Ok(Some((bytes, descriptors))) = post::receive(server.socket.as_fd()) {
        // Nobody sends any; and whoever does is not to leave them here.
        drop(descriptors);
        match Question::decode(&bytes) {
            Ok(question) => server.take(question),
            Err((id, error)) => {
                server.refuse(id, RefusalKind::BadQuestion, format!("the question {error}"));
            }
        }
    }
    server.keeper.close();
}

impl Server {
    fn take(self: &Arc<Self>, Question { id, ask }: Question) {
        if self.working.fetch_add(1, Ordering::AcqRel) >= MAX_AT_ONCE {
            self.working.fetch_sub(1, Ordering::AcqRel);
            return self.refuse(
                id,
                RefusalKind::Busy,
                "too many forwards are being opened at once".to_owned(),
            );
        }
        let worker = Worker(Arc::clone(self));
        let work = move || worker.0.answer(id, ask);
        if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(work) {
            self.refuse(id, RefusalKind::Busy, format!("the account cannot have more processes: {error}"));
        }
    }

    fn answer(&self, id: u32, ask: Ask) {
        let (outcome, descriptors) = match self.work(id, ask) {
            Ok((given, descriptors)) => (Ok(given), descriptors),
            Err(refusal) => (Err(refusal), Vec::new()),
        };
        let sent = post::send(self.socket.as_fd(), &Reply { id, outcome }.encode(), &descriptors);
        if sent.is_err() {
            // Nobody has it, so nobody will release it.
            self.keeper.release(id);
        }
    }

    fn work(&self, id: u32, ask: Ask) -> Result<(Given, Vec<OwnedFd>), Refusal> {
        Ok(match ask {
            Ask::ConnectTcp { host, port } => (Given::Connected, vec![connect::tcp(&host, port)?]),
            Ask::ConnectUnix { path } => (Given::Connected, vec![connect::unix(&path)?]),
            Ask::ListenTcp { address, port } => {
                let (sockets, port) = listen::tcp(&address, port)?;
                (Given::Listening { port }, sockets)
            }
            Ask::ListenUnix { path } => {
                let making = self.begin()?;
                let (socket, kept) = listen::unix(&path)?;
                making.keep(id, kept);
                (Given::Listening { port: 0 }, vec![socket])
            }
            Ask::Agent => {
                let making = self.begin()?;
                let (socket, kept, path) = agent::listen()?;
                making.keep(id, kept);
                (Given::Agent { path }, vec![socket])
            }
            Ask::Display(wanted) => {
                let making = self.begin()?;
                let (sockets, kept, name) = display::listen(&wanted, &self.environment)?;
                making.keep(id, kept);
                (Given::Display { name }, sockets)
            }
            Ask::Release(made) => {
                let _making = self.begin()?;
                self.keeper.release(made);
                (Given::Released, Vec::new())
            }
        })
    }

    fn begin(&self) -> Result<Making<'_>, Refusal> {
        self.keeper.begin().ok_or_else(|| Refusal::new(RefusalKind::Busy, "the connection is over"))
    }

    fn refuse(&self, id: u32, kind: RefusalKind, words: String) {
        let reply = Reply { id, outcome: Err(Refusal::new(kind, words)) };
        let _ = post::send(self.socket.as_fd(), &reply.encode(), &[]);
    }
}

/// Counts as one question that is worked on.
struct Worker(Arc<Server>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::AcqRel);
    }
}
