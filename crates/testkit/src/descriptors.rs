//! Tests with thousands of connections need as many descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises what this process may open to the most that it may raise it to, and says how much that is.
#[must_use]
pub fn as_many_as_possible() -> usize {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).expect("up to the maximum");
    limits.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}
