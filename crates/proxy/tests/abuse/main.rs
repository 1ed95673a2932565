//! Attacks on a proxy, one file for each row of the abuse table.

#[path = "../cluster/mod.rs"]
mod cluster;
mod d1_half_open;
mod p4_not_a_host;
