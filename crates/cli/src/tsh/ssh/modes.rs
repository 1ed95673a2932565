//! The modes of a terminal as SSH numbers them (RFC 4254, section 8; 42 is IUTF8 of RFC 8160).

use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex as Code, Termios};

/// What the host's terminal is to be set to: the keys and the modes of the terminal here.
pub(super) fn of(terminal: &Termios) -> Vec<(u8, u32)> {
    let keys = KEYS.iter().map(|(opcode, key)| match terminal.special_codes[*key] {
        // 255 is "none" to SSH, 0 to the system.
        0 => (*opcode, 255),
        code => (*opcode, u32::from(code)),
    });
    let flag = |(opcode, set): (u8, bool)| (opcode, u32::from(set));
    let input = INPUT.iter().map(|(opcode, mode)| flag((*opcode, terminal.input_modes.contains(*mode))));
    let local = LOCAL.iter().map(|(opcode, mode)| flag((*opcode, terminal.local_modes.contains(*mode))));
    let output = OUTPUT.iter().map(|(opcode, mode)| flag((*opcode, terminal.output_modes.contains(*mode))));
    let size = terminal.control_modes & ControlModes::CSIZE;
    let control = [
        (90, size == ControlModes::CS7),
        (91, size == ControlModes::CS8),
        (92, terminal.control_modes.contains(ControlModes::PARENB)),
        (93, terminal.control_modes.contains(ControlModes::PARODD)),
    ];
    let speeds = [(128, terminal.input_speed()), (129, terminal.output_speed())];
    keys.chain(input).chain(local).chain(output).chain(control.map(flag)).chain(speeds).collect()
}

const KEYS: &[(u8, Code)] = &[
    (1, Code::VINTR),
    (2, Code::VQUIT),
    (3, Code::VERASE),
    (4, Code::VKILL),
    (5, Code::VEOF),
    (6, Code::VEOL),
    (7, Code::VEOL2),
    (8, Code::VSTART),
    (9, Code::VSTOP),
    (10, Code::VSUSP),
    (12, Code::VREPRINT),
    (13, Code::VWERASE),
    (14, Code::VLNEXT),
    (18, Code::VDISCARD),
];

const INPUT: &[(u8, InputModes)] = &[
    (30, InputModes::IGNPAR),
    (31, InputModes::PARMRK),
    (32, InputModes::INPCK),
    (33, InputModes::ISTRIP),
    (34, InputModes::INLCR),
    (35, InputModes::IGNCR),
    (36, InputModes::ICRNL),
    (38, InputModes::IXON),
    (39, InputModes::IXANY),
    (40, InputModes::IXOFF),
    (41, InputModes::IMAXBEL),
    (42, InputModes::IUTF8),
];

const LOCAL: &[(u8, LocalModes)] = &[
    (50, LocalModes::ISIG),
    (51, LocalModes::ICANON),
    (53, LocalModes::ECHO),
    (54, LocalModes::ECHOE),
    (55, LocalModes::ECHOK),
    (56, LocalModes::ECHONL),
    (57, LocalModes::NOFLSH),
    (58, LocalModes::TOSTOP),
    (59, LocalModes::IEXTEN),
    (60, LocalModes::ECHOCTL),
    (61, LocalModes::ECHOKE),
];

const OUTPUT: &[(u8, OutputModes)] = &[
    (70, OutputModes::OPOST),
    (72, OutputModes::ONLCR),
    (73, OutputModes::OCRNL),
    (74, OutputModes::ONOCR),
    (75, OutputModes::ONLRET),
];
