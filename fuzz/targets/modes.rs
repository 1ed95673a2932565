//! Terminal modes as a client encodes them, until they are set on a real terminal.
#![no_main]

use std::os::fd::OwnedFd;

use exec::TerminalModes;
use exec::fuzzing::apply;
use libfuzzer_sys::fuzz_target;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

thread_local! {
    /// Both ends, and how the terminal was when it was new.
    static TERMINAL: (OwnedFd, OwnedFd, Termios) = terminal();
}

fn terminal() -> (OwnedFd, OwnedFd, Termios) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("a pty");
    unlockpt(&master).expect("unlocks");
    let slave = ioctl_tiocgptpeer(&master, flags).expect("its other end");
    let new = tcgetattr(&slave).expect("reads");
    (master, slave, new)
}

fuzz_target!(|data: &[u8]| {
    let modes = TerminalModes::parse(data);
    let encoded = modes.encode();
    assert!(encoded.len() <= 160 * 5 + 1);
    assert_eq!(TerminalModes::parse(&encoded), modes);
    TERMINAL.with(|(_, slave, new)| {
        tcsetattr(slave, OptionalActions::Now, new).expect("as it was");
        // A client's mistake does not keep its session from starting.
        apply(&modes, slave).expect("whatever it says can be set");
        let set = tcgetattr(slave).expect("reads");
        assert!(set.output_speed() > 0, "a speed of zero hangs up");
        apply(&modes, slave).expect("once more");
        assert_eq!(seen(&tcgetattr(slave).expect("reads")), seen(&set), "the same again");
        if modes == TerminalModes::default() {
            assert_eq!(seen(&set), seen(new), "nothing was asked for");
        }
    });
});

/// What can be compared.
fn seen(termios: &Termios) -> String {
    format!("{termios:?}")
}
