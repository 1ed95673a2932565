//! Attacks on auth by its RPCs, one file for each row of the abuse table. Those on joining are beside its tests.

mod d4_sizes;
#[path = "../harness/mod.rs"]
mod harness;
