//! The machine agent: joins once, keeps short-lived credentials fresh, writes them where programs read them.

pub mod destination;
