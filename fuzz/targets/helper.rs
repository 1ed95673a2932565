//! What passes between the node and the processes of sessions, and what of a client's wishes goes into it: requests,
//! terminal modes, variables, records.
#![no_main]

use exec::sftp::record::Record;
use exec::{SessionRequest, TerminalModes, environment, status};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 5 {
        0 => {
            if let Ok(request) = SessionRequest::decode(data) {
                assert_eq!(request.check(), Ok(()));
                let again = request.encode().expect("what was read can be written");
                assert_eq!(SessionRequest::decode(&again), Ok(request));
            }
        }
        1 => {
            let modes = TerminalModes::parse(data);
            assert_eq!(TerminalModes::parse(&modes.encode()), modes);
        }
        2 => {
            let text = String::from_utf8_lossy(data);
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            if environment::client_may_set(name, value) {
                assert!(environment::node_may_set(name, value) && !name.is_empty() && !name.contains('='));
                assert!(!value.contains('\0') && !name.starts_with("LD_") && !name.starts_with("SSH_"));
            }
        }
        3 => {
            if let Ok(Some((record, taken))) = Record::decode(data) {
                let mut again = Vec::new();
                record.encode(&mut again);
                // An explanation that is too long is cut.
                assert!(again.len() <= taken);
                let read = Record::decode(&again).expect("our own");
                assert_eq!(read.map(|(_, taken)| taken), Some(again.len()));
            }
        }
        _ => {
            if let Err(failure) = status::decode(data) {
                assert!(!failure.detail.chars().any(char::is_control));
            }
        }
    }
});
