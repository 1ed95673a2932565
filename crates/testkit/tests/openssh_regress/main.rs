//! OpenSSH's own regression scripts (Debian's package `openssh-tests`), as they are, against a node: straight, and
//! through the proxy. `scripts.rs` says what runs and what does not; `stand.rs` how a node gets into sshd's place.

mod page;
mod run;
mod scripts;
mod stand;
