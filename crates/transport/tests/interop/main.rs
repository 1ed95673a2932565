//! Other implementations of SSH against ours, both ways: data in bulk and in binary, exit statuses, standard error, forwarded
//! connections, and changed keys in the middle of it. `scripts/test-tools` installs those that are programs; a missing one
//! fails its tests.

mod asyncssh;
mod audit;
mod drill;
#[path = "../openssh/mod.rs"]
mod openssh;
mod paramiko;
mod peer;
mod putty;
mod russh_peer;
mod stock;
mod table;
