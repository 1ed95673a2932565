//! What the fuzz targets need of the inside. It is there only under `--cfg fuzzing`, which no build of the product sets.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use crate::TerminalModes;
use crate::environment::{Sources, assemble};

/// A name and its value.
pub type Variable = (String, String);

/// Where the variables of a session come from, as the helper has them.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// The account's and its terminal's.
    pub own: Vec<Variable>,
    /// The node's.
    pub node: Vec<Variable>,
    /// Of PAM's modules.
    pub modules: Vec<Variable>,
    /// The host's.
    pub defaults: Vec<Variable>,
    /// The client's.
    pub client: Vec<Variable>,
    /// Of the user's own file.
    pub user: Vec<Variable>,
    /// What nobody else has set.
    pub fallback: Vec<Variable>,
}

impl Variables {
    /// What the session gets.
    pub fn assemble(&self) -> BTreeMap<String, String> {
        let Self { own, node, modules, defaults, client, user, fallback } = self.clone();
        assemble(&Sources { own, node: &node, modules, defaults, client: &client, user, fallback })
    }
}

/// Sets these modes on a terminal, as the helper does.
pub fn apply(modes: &TerminalModes, terminal: impl AsFd) -> rustix::io::Result<()> {
    modes.apply(terminal)
}
