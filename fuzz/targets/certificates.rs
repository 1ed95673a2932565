//! SSH certificates of users and hosts, signed by the right authority, the wrong one, or nobody.
#![no_main]

use fuzz::certificate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| certificate::run(data));
