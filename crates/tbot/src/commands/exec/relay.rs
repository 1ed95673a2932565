//! Signals to this process are for the command.

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use std::task::Poll;
use tokio::signal::unix::{self, SignalKind};

/// What is passed on.
const PASSED_ON: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Hears them, from its making on.
pub(super) struct Relay(Vec<(Signal, unix::Signal)>);

impl Relay {
    pub(super) fn listen() -> std::io::Result<Self> {
        let listen = |signal: Signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
        PASSED_ON.into_iter().map(listen).collect::<std::io::Result<_>>().map(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Passes a signal on to the command, unless a terminal sent it to both.
pub(super) fn pass_on(pid: Option<u32>, signal: Signal) {
    if matches!(signal, Signal::INT | Signal::QUIT) && is_foreground() {
        return;
    }
    // It is our child and not waited for yet, so the number is still its own.
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// What is typed at our terminal reaches the command without us: it is in the same process group.
fn is_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == getpgrp())
}
