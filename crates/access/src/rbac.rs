//! Decisions: who may log in where, do what to which resource, and ask for whose roles.
//!
//! A decision is a value: a permit that only this module can make, or a [`Denial`] that explains itself.
//! Refusals of any role come before grants of any role, and what cannot be understood refuses. The order of
//! roles never matters: a [`RoleSet`] keeps them sorted.

pub mod api;
pub mod certificate;
mod denial;
pub mod impersonate;
pub mod lock;
mod role_set;
mod section;
pub mod spiffe;
pub mod ssh;
mod verb;

pub use denial::{Denial, DenialCode, RuleRef};
pub use role_set::{MissingRole, RoleSet};
pub use verb::{UnknownVerb, Verb};
