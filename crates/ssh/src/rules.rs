//! The rules of RFC 4251 to 4254 and of those that came after, and of OpenSSH's PROTOCOL, by section: those that take a
//! peer that breaks them. Others stand beside what they are about.

pub(crate) mod authentication;
mod connection;
mod exchange;
