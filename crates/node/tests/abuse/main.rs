//! Attacks on a node, one file for each row of the abuse table.

mod d1_half_open;
mod n3_paths;
mod n5_process_escape;
mod p1_forwards_without_right;
mod p2_accounts;
mod p7_cancel;
mod s10_displays;
mod s4_privileges;
mod s5_sessions_of_others;
mod s9_agents;
#[path = "../support/mod.rs"]
mod support;
