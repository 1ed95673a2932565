//! What may be done by whom: resources, names, labels, traits, templates and the decisions over them.
//!
//! Pure: no I/O, no clock, no randomness, no certificates. Time is an argument (`jiff::Timestamp`).

pub mod address;
pub mod bot;
pub mod duration;
pub mod label;
pub mod name;
pub mod predicate;
pub mod preset;
pub mod rbac;
pub mod resource;
pub mod spiffe;
pub mod template;
pub mod traits;

pub use address::HostPort;
pub use duration::Ttl;
pub use label::Labels;
pub use name::{
    BotName, ClusterName, HostId, InstanceId, Login, NameError, NodeName, RoleName, SystemRole, UserName,
};
pub use spiffe::{SpiffeId, SpiffePath};
pub use traits::Traits;
