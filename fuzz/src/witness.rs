//! A server that stands where a node should be, as the proxy sees it before it knows whose host key it is.

use ssh::witness::{Astray, Sight, Witness};

/// As the witness has it.
const MOST: usize = 64 << 10;

/// One server's bytes.
pub fn run(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let (passed, seen) = watch(bytes, bytes.len());
    assert!(passed <= bytes.len().min(MOST));
    let in_pieces = watch(bytes, usize::from(*piece).max(1));
    assert_eq!((passed, &seen), (in_pieces.0, &in_pieces.1), "pieces make a difference");
    if let Seen::HostKey(key) = seen {
        // It stands in the very next message, and without that message nothing is seen.
        assert!(bytes[passed..].windows(key.len().max(1)).any(|part| part.starts_with(&key)));
        assert_eq!(watch(&bytes[..passed], passed), (passed, Seen::Nothing));
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    HostKey(Vec<u8>),
    Astray(Astray),
}

/// How much passes of bytes that come in pieces of this length, and what is seen then.
fn watch(bytes: &[u8], piece: usize) -> (usize, Seen) {
    let mut witness = Witness::default();
    let (mut passed, mut there) = (0, 0);
    loop {
        match witness.look(&bytes[passed..there]) {
            Ok(Sight::Harmless(count)) => {
                assert!(count > 0 && passed + count <= there, "more passes than there is");
                passed += count;
            }
            Ok(Sight::HostKey(key)) => return (passed, Seen::HostKey(key.to_vec())),
            Err(astray) => {
                let words = astray.to_string();
                let farewell = witness.farewell(&words);
                assert!(farewell.windows(words.len()).any(|part| part == words.as_bytes()));
                return (passed, Seen::Astray(astray));
            }
            Ok(Sight::Nothing) if there == bytes.len() => return (passed, Seen::Nothing),
            Ok(Sight::Nothing) => there = bytes.len().min(there + piece),
        }
    }
}
