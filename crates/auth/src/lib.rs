//! auth

pub mod audit;
