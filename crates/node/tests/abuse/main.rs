//! Attacks on a node, one file for each row of the abuse table.

mod d1_half_open;
mod n5_process_escape;
mod s4_privileges;
mod s5_sessions_of_others;
#[path = "../support/mod.rs"]
mod support;
