//! What is read before anybody has proven anything: identifications, packets, `KEXINIT`; and sealed packets that were
//! changed on their way.
#![no_main]

use fuzz::input::Input;
use libfuzzer_sys::fuzz_target;
use ssh::Role;
use ssh::algorithms::Cipher;
use ssh::fuzzing::{identification, negotiation, packet, packets, through};

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let role = if choice & 1 == 0 { Role::Server } else { Role::Client };
    match choice >> 1 & 3 {
        0 => identified(role, rest),
        1 => plain(rest),
        2 => {
            let mut message = vec![20];
            message.extend_from_slice(rest);
            for before in [None, Some(true), Some(false)] {
                if let Some(negotiated) = negotiation(role, &message, before) {
                    assert!(before.is_none_or(|before| before == negotiated.strict));
                    let chacha = [negotiated.client_to_server, negotiated.server_to_client];
                    assert!(negotiated.strict || !chacha.contains(&Cipher::ChaCha20Poly1305));
                }
            }
        }
        _ => sealed(rest),
    }
});

/// Whatever the line is, it is found again in one piece and is fit to be shown.
fn identified(role: Role, stream: &[u8]) {
    if let Some((taken, line)) = identification(role, stream) {
        assert!(line.starts_with(b"SSH-") && line.iter().all(|byte| matches!(byte, b' '..=b'~')));
        assert!(line.len() < taken && taken <= stream.len());
        assert_eq!(identification(role, &stream[..taken]), Some((taken, line)));
        assert_eq!(identification(role, &stream[..taken - 1]), None);
    }
}

/// Packets come out as they went in.
fn plain(stream: &[u8]) {
    let (taken, payloads, _) = packets(&mut stream.to_vec());
    assert!(taken <= stream.len());
    let mut again: Vec<u8> = payloads.iter().flat_map(|payload| packet(payload)).collect();
    let length = again.len();
    assert_eq!(packets(&mut again), (length, payloads, false));
}

/// What was changed is not opened, and nothing after it.
fn sealed(data: &[u8]) {
    let input = Input::new(data);
    let cipher = Cipher::ALL[input.below(Cipher::ALL.len())];
    let payloads: Vec<Vec<u8>> =
        (0..1 + input.below(4)).map(|_| [&[94], &input.bytes()[..]].concat()).collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let mut changed = false;
    let opened = through(cipher, &payloads, |stream| {
        let before = stream.clone();
        let place = usize::from(input.short()) % stream.len();
        match input.byte() % 4 {
            0 => {}
            1 => stream[place] ^= input.byte(),
            2 => stream.truncate(place),
            _ => drop(stream.splice(place..place, input.bytes())),
        }
        changed = !stream.starts_with(&before);
    });
    assert!(payloads.starts_with(&opened.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    assert_eq!(opened.len() == payloads.len(), !changed);
}
