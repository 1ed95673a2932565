//! What people use over SSH every day, against a node through the proxy, with nothing but the `ssh_config` that `tbot`
//! wrote where that is enough. Each with a refusal beside it. Ansible and Terraform have files of their own.

mod git;
mod many;
mod mosh;
mod putty;
mod python;
mod rsync;
mod shell;
mod story;
