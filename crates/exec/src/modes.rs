//! Encoded terminal modes (RFC 4254, section 8): a list of opcodes, each with one 32-bit argument.
//!
//! The parser is total and bounded: it stops at the end mark, at the first opcode without a defined shape (160 and up),
//! and where the bytes end; what was read until then counts, as the RFC asks. Opcodes without a meaning on Linux are
//! carried and ignored.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use rustix::io;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
    tcsetattr,
};

const TTY_OP_END: u8 = 0;
/// Opcodes from here on have no defined argument; parsing stops at the first.
const FIRST_UNDEFINED: u8 = 160;
const CS7: u8 = 90;
const CS8: u8 = 91;
const TTY_OP_ISPEED: u8 = 128;
const TTY_OP_OSPEED: u8 = 129;
/// "No character" on the wire.
const NO_CHARACTER: u32 = 255;
/// Faster lines than the kernel's fastest named speed are a mistake.
const MAX_SPEED: u32 = 4_000_000;

const CHARACTERS: [(u8, SpecialCodeIndex); 15] = [
    (1, SpecialCodeIndex::VINTR),
    (2, SpecialCodeIndex::VQUIT),
    (3, SpecialCodeIndex::VERASE),
    (4, SpecialCodeIndex::VKILL),
    (5, SpecialCodeIndex::VEOF),
    (6, SpecialCodeIndex::VEOL),
    (7, SpecialCodeIndex::VEOL2),
    (8, SpecialCodeIndex::VSTART),
    (9, SpecialCodeIndex::VSTOP),
    (10, SpecialCodeIndex::VSUSP),
    (12, SpecialCodeIndex::VREPRINT),
    (13, SpecialCodeIndex::VWERASE),
    (14, SpecialCodeIndex::VLNEXT),
    (16, SpecialCodeIndex::VSWTC),
    (18, SpecialCodeIndex::VDISCARD),
];

const INPUT: [(u8, InputModes); 13] = [
    (30, InputModes::IGNPAR),
    (31, InputModes::PARMRK),
    (32, InputModes::INPCK),
    (33, InputModes::ISTRIP),
    (34, InputModes::INLCR),
    (35, InputModes::IGNCR),
    (36, InputModes::ICRNL),
    (37, InputModes::IUCLC),
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (40, InputModes::IXOFF),
    (41, InputModes::IMAXBEL),
    (42, InputModes::IUTF8),
];

const LOCAL: [(u8, LocalModes); 13] = [
    (50, LocalModes::ISIG),
    (51, LocalModes::ICANON),
    (52, LocalModes::XCASE),
    (53, LocalModes::ECHO),
    (54, LocalModes::ECHOE),
    (55, LocalModes::ECHOK),
    (56, LocalModes::ECHONL),
    (57, LocalModes::NOFLSH),
    (58, LocalModes::TOSTOP),
    (59, LocalModes::IEXTEN),
    (60, LocalModes::ECHOCTL),
    (61, LocalModes::ECHOKE),
    (62, LocalModes::PENDIN),
];

const OUTPUT: [(u8, OutputModes); 6] = [
    (70, OutputModes::OPOST),
    (71, OutputModes::OLCUC),
    (72, OutputModes::ONLCR),
    (73, OutputModes::OCRNL),
    (74, OutputModes::ONOCR),
    (75, OutputModes::ONLRET),
];

const CONTROL: [(u8, ControlModes); 2] = [(92, ControlModes::PARENB), (93, ControlModes::PARODD)];

/// Terminal modes as a client asked for them: each opcode at most once, the last mention counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TerminalModes {
    by_opcode: BTreeMap<u8, u32>,
}

impl TerminalModes {
    /// Reads the modes of a `pty-req`. Never fails: see the module's header.
    pub fn parse(mut encoded: &[u8]) -> Self {
        let mut by_opcode = BTreeMap::new();
        while let Some((&[opcode, a, b, c, d], rest)) = encoded.split_first_chunk() {
            if opcode == TTY_OP_END || opcode >= FIRST_UNDEFINED {
                break;
            }
            by_opcode.insert(opcode, u32::from_be_bytes([a, b, c, d]));
            encoded = rest;
        }
        Self { by_opcode }
    }

    /// From opcode and argument pairs.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (u8, u32)>) -> Self {
        let defined = |opcode: &u8| (1..FIRST_UNDEFINED).contains(opcode);
        Self { by_opcode: pairs.into_iter().filter(|(opcode, _)| defined(opcode)).collect() }
    }

    /// The RFC's encoding, with its end mark.
    pub fn encode(&self) -> Vec<u8> {
        let pairs = self.by_opcode.iter().flat_map(|(opcode, value)| {
            let [a, b, c, d] = value.to_be_bytes();
            [*opcode, a, b, c, d]
        });
        pairs.chain([TTY_OP_END]).collect()
    }

    /// Sets these modes on a terminal and leaves all others as they are.
    pub(crate) fn apply(&self, terminal: impl AsFd) -> io::Result<()> {
        if self.by_opcode.is_empty() {
            return Ok(());
        }
        let mut termios = tcgetattr(&terminal)?;
        for (&opcode, &value) in &self.by_opcode {
            set(&mut termios, opcode, value);
        }
        tcsetattr(terminal, OptionalActions::Now, &termios)
    }
}

fn set(termios: &mut Termios, opcode: u8, value: u32) {
    let on = value != 0;
    if let Some(index) = find(&CHARACTERS, opcode) {
        // 0 is the kernel's "disabled"; a value that is no byte is a mistake and also disables.
        let character = if value == NO_CHARACTER { 0 } else { u8::try_from(value).unwrap_or(0) };
        termios.special_codes[index] = character;
    } else if let Some(flag) = find(&INPUT, opcode) {
        termios.input_modes.set(flag, on);
    } else if let Some(flag) = find(&LOCAL, opcode) {
        termios.local_modes.set(flag, on);
    } else if let Some(flag) = find(&OUTPUT, opcode) {
        termios.output_modes.set(flag, on);
    } else if let Some(flag) = find(&CONTROL, opcode) {
        termios.control_modes.set(flag, on);
    } else {
        set_line(termios, opcode, value);
    }
}

/// Character size and speeds. A speed of 0 means "hang up" and is not taken from a client.
fn set_line(termios: &mut Termios, opcode: u8, value: u32) {
    let size = match opcode {
        CS7 if value != 0 => ControlModes::CS7,
        CS8 if value != 0 => ControlModes::CS8,
        TTY_OP_ISPEED if (1..=MAX_SPEED).contains(&value) => {
            let _ = termios.set_input_speed(value);
            return;
        }
        TTY_OP_OSPEED if (1..=MAX_SPEED).contains(&value) => {
            let _ = termios.set_output_speed(value);
            return;
        }
        _ => return,
    };
    termios.control_modes.remove(ControlModes::CSIZE);
    termios.control_modes.insert(size);
}

fn find<T: Copy>(table: &[(u8, T)], opcode: u8) -> Option<T> {
    table.iter().find(|(number, _)| *number == opcode).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

    use super::*;

    /// What OpenSSH sends first, in a shortened form: speeds, ^C, echo off, 8 bits.
    const SAMPLE: [u8; 26] =
        [129, 0, 0, 0x96, 0, 128, 0, 0, 0x96, 0, 1, 0, 0, 0, 7, 53, 0, 0, 0, 0, 91, 0, 0, 0, 1, 0];

    #[test]
    fn modes_reach_a_real_terminal() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        unlockpt(&master).expect("unlock");
        let slave =
            ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the other side");
        TerminalModes::parse(&SAMPLE).apply(&slave).expect("apply");
        let termios = tcgetattr(&slave).expect("read back");
        assert_eq!(termios.special_codes[SpecialCodeIndex::VINTR], 7);
        assert!(!termios.local_modes.contains(LocalModes::ECHO));
        assert!(termios.local_modes.contains(LocalModes::ICANON), "untouched modes stay");
        assert_eq!(termios.control_modes & ControlModes::CSIZE, ControlModes::CS8);
        assert_eq!(termios.output_speed(), 38400);
        let disabled = TerminalModes::from_pairs([(1, NO_CHARACTER), (TTY_OP_OSPEED, 0)]);
        disabled.apply(&slave).expect("apply");
        let termios = tcgetattr(&slave).expect("read back");
        assert_eq!((termios.special_codes[SpecialCodeIndex::VINTR], termios.output_speed()), (0, 38400));
    }

    #[test]
    fn reading_stops_where_the_rfc_says() {
        assert_eq!(TerminalModes::parse(&[0, 53, 0, 0, 0, 1]), TerminalModes::default());
        assert_eq!(TerminalModes::parse(&[200, 0, 0, 0, 1, 53, 0, 0, 0, 1]), TerminalModes::default());
        assert_eq!(TerminalModes::parse(&[53, 0, 0, 0]), TerminalModes::default());
        let twice = TerminalModes::parse(&[53, 0, 0, 0, 1, 53, 0, 0, 0, 0]);
        assert_eq!(twice, TerminalModes::from_pairs([(53, 0)]));
        assert_eq!(TerminalModes::from_pairs([(0, 1), (160, 1)]), TerminalModes::default());
    }

    proptest! {
        #[test]
        fn parsing_is_total_and_stable(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let modes = TerminalModes::parse(&bytes);
            prop_assert!(modes.by_opcode.len() < usize::from(FIRST_UNDEFINED));
            prop_assert_eq!(TerminalModes::parse(&modes.encode()), modes);
        }
    }
}
