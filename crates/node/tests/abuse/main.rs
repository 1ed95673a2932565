//! Attacks on a node, one file for each row of the abuse table.

mod d1_half_open;
#[path = "../support/mod.rs"]
mod support;
