//! An SFTP client that sends what it likes.
#![no_main]

use fuzz::sftp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sftp::run(data));
