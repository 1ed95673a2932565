//! Decisions: who may log in where, do what to which resource, and ask for whose roles.
//!
//! A decision is a value: a permit that only this module can make, or a [`Denial`] that explains itself.
//! Refusals of any role come before grants of any role, and what cannot be understood refuses.

mod verb;

pub use verb::{UnknownVerb, Verb};
