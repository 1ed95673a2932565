//! What auth remembers of those it enrolled: bots' instances with their lineage, hosts with their keys and names,
//! and the uses of tokens.

pub mod lineage;
