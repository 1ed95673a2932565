//! The daemon `postern`: reads its configuration, starts the services it asks for, watches over them and stops them.
//!
//! The services are crates of their own and meet only through the API; nothing of what they do is decided here.

pub mod cli;
mod commands;
pub mod config;
pub mod configure;
pub mod defaults;
pub mod privileges;
pub mod run;
mod services;
