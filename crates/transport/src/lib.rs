//! transport

pub mod health;
