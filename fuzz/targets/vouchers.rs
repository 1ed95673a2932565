//! What joiners show for a platform to vouch for them, and what platforms answer.
#![no_main]

use fuzz::vouchers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vouchers::run(data));
