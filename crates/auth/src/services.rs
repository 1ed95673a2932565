//! The RPC services, one file each. Who may call is in `rpc_policy`; here is what a call does.

pub mod certificates;
pub mod join;
