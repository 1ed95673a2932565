//! Inventory, cluster and audit over a real store, with streams in the same process.

mod abuse;
mod audit;
mod bench;
mod cluster;
mod inventory;
mod policy;
