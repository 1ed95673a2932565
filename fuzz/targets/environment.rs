//! What a client says of its session: how it arrives at `session-exec` in a request, and what the session gets of its
//! variables, whatever all others say.
#![no_main]

use std::collections::BTreeMap;

use exec::environment::{client_may_set, node_may_set};
use exec::fuzzing::{Variable, Variables};
use exec::{Launch, Pam, Pty, SessionRequest, TerminalModes, WindowSize};
use fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    match choice % 2 {
        0 => request(&Input::new(rest)),
        _ => environment(&Input::new(rest)),
    }
});

/// What a node would ask for: it arrives as it was sent, or is refused where it is made.
fn request(input: &Input) {
    let launch = match input.below(4) {
        0 => Launch::LoginShell,
        1 => Launch::Command(input.bytes()),
        2 => Launch::Sftp,
        _ => Launch::Sockets,
    };
    let login = if input.chance() { "alice".to_owned() } else { text(input) };
    let mut request = SessionRequest::new(login, launch);
    request.client_env = variables(input);
    request.trusted_env = variables(input);
    if input.chance() {
        let size = WindowSize::from_wire(input.number(), input.number(), input.number(), input.number());
        request.pty = Some(Pty { term: text(input), size, modes: TerminalModes::parse(&input.bytes()) });
    }
    if input.chance() {
        request.pam = Some(Pam { service: text(input), environment: variables(input) });
    }
    request.user_env = input.chance();
    match request.encode() {
        Ok(bytes) => assert_eq!(SessionRequest::decode(&bytes), Ok(request)),
        // Too large is the one thing that only shows when it is written.
        Err(error) => assert_eq!(request.check().err().unwrap_or(error.clone()), error),
    }
}

/// Nobody says more than he may, whoever else says what.
fn environment(input: &Input) {
    let fixed = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let own = vec![fixed("HOME", "/home/alice"), fixed("SHELL", "/bin/sh"), fixed("TERM", "xterm")];
    let all = Variables {
        own,
        node: variables(input),
        modules: variables(input),
        defaults: vec![fixed("PATH", "/usr/bin:/bin"), fixed("MAIL", "/var/mail/alice")],
        client: variables(input),
        user: variables(input),
        fallback: vec![fixed("LANG", "C.UTF-8")],
    };
    let session = all.assemble();
    for (name, value) in &all.own {
        assert_eq!(session.get(name), Some(value), "the account's own word");
    }
    let alone = Variables { client: Vec::new(), user: Vec::new(), ..all.clone() }.assemble();
    for (name, value) in &session {
        assert!(!name.contains(['=', '\0']) && !value.contains('\0'), "{name:?}={value:?}");
        assert!(node_may_set(name, value), "{name:?}={value:?}");
        // A client and a user's file add what nobody else says.
        match alone.get(name) {
            Some(other) if name != "LANG" => assert_eq!(value, other, "{name} was replaced"),
            Some(_) => {}
            None => {
                assert!(client_may_set(name, value), "{name:?}={value:?}");
                let said = [&all.client, &all.user].iter().any(|list| last(list).get(name) == Some(&value));
                assert!(said, "{name:?}={value:?} is nobody's word");
            }
        }
    }
    assert_eq!(all.assemble(), session);
}

/// Of two values for a name the later that may be set.
fn last(list: &[Variable]) -> BTreeMap<&String, &String> {
    list.iter()
        .filter(|(name, value)| client_may_set(name, value))
        .map(|(name, value)| (name, value))
        .collect()
}

fn variables(input: &Input) -> Vec<Variable> {
    const NAMES: [&str; 16] = [
        "LANG",
        "LC_ALL",
        "TERM",
        "PATH",
        "HOME",
        "LD_PRELOAD",
        "LD_",
        "BASH_ENV",
        "IFS",
        "ENV",
        "SSH_CONNECTION",
        "SSH_AUTH_SOCK",
        "BASH_FUNC_x%%",
        "GIT_PROTOCOL",
        "DISPLAY",
        "_",
    ];
    let count = input.below(6);
    let name = |choice: usize| NAMES.get(choice).map_or_else(|| text(input), |name| (*name).to_owned());
    (0..count).map(|_| (name(input.below(20)), text(input))).collect()
}

fn text(input: &Input) -> String {
    String::from_utf8_lossy(&input.bytes()).into_owned()
}
