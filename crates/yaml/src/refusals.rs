//! Keys that are known and refused by name: other software has them, ours does not act on them.
//!
//! Ignoring such a key would make a promise that nobody keeps, and "unknown key" would send its author searching
//! for a typing error. So the table says what the key is and what to do instead.

use crate::{
    path::{KeyPath, Segment},
    tree::{Data, Node},
};

/// A table of refused keys.
#[derive(Debug, Clone, Copy)]
pub struct Refusals(&'static [Refusal]);

/// One refused key, or one refused value of a key.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    path: &'static str,
    reason: &'static str,
    value: Option<&'static str>,
    unless: &'static [&'static str],
    unless_off: bool,
}

/// Refuses a key by its path. In each step, `*` stands for any letters (`proxy_service.kube_*`); list positions are
/// left out (`outputs.kubernetes_cluster`).
///
/// A key without a value (`acme:`, `acme: {}`, `ca_pin: ""`) asks for nothing and is always let through.
#[must_use]
pub const fn refuse(path: &'static str, reason: &'static str) -> Refusal {
    Refusal { path, reason, value: None, unless: &[], unless_off: false }
}

impl Refusal {
    /// Refuses only this value of the key.
    #[must_use]
    pub const fn value(mut self, value: &'static str) -> Self {
        self.value = Some(value);
        self
    }

    /// Lets these values through: they ask for what happens anyway.
    #[must_use]
    pub const fn unless(mut self, values: &'static [&'static str]) -> Self {
        self.unless = values;
        self
    }

    /// Lets the key through when it switches something off: `no`, or a section that says `enabled: no`.
    #[must_use]
    pub const fn unless_off(mut self) -> Self {
        self.unless_off = true;
        self
    }
}

impl Refusal {
    /// The key, with its value where only that is refused.
    pub(crate) fn asks_for(&self) -> String {
        match self.value {
            None => self.path.to_owned(),
            Some(value) => format!("{}: {value}", self.path),
        }
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }
}

/// What a table says about a key that stands in a file.
pub(crate) enum Verdict {
    /// Not in the table.
    Unlisted,
    /// In the table, but asks for nothing.
    Harmless,
    Refused(&'static str),
}

impl Refusals {
    /// A table; see [`refuse`].
    #[must_use]
    pub const fn new(table: &'static [Refusal]) -> Self {
        Self(table)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.0.iter()
    }

    pub(crate) fn judge(&self, path: &KeyPath, node: &Node) -> Verdict {
        let mut verdict = Verdict::Unlisted;
        for refusal in self.0.iter().filter(|refusal| covers(refusal.path, path)) {
            match refusal.value {
                Some(value) if !is_word(node, value) => {}
                _ if refusal.value.is_none() && asks_for_nothing(node, refusal) => {
                    verdict = Verdict::Harmless
                }
                _ => return Verdict::Refused(refusal.reason),
            }
        }
        verdict
    }
}

fn asks_for_nothing(node: &Node, refusal: &Refusal) -> bool {
    let empty = match &node.data {
        Data::Scalar(scalar) => scalar.text.is_empty() || scalar.is_null(),
        Data::List(items) => items.is_empty(),
        Data::Map(entries) => entries.is_empty(),
    };
    empty
        || refusal.unless.iter().any(|value| is_word(node, value))
        || (refusal.unless_off
            && (is_off(node) || node.entry("enabled").is_some_and(|entry| is_off(&entry.node))))
}

fn is_off(node: &Node) -> bool {
    matches!(&node.data, Data::Scalar(scalar) if scalar.to_bool() == Some(false))
}

fn is_word(node: &Node, word: &str) -> bool {
    matches!(&node.data, Data::Scalar(scalar) if scalar.text.eq_ignore_ascii_case(word))
}

fn covers(pattern: &str, path: &KeyPath) -> bool {
    let mut keys = path.segments().iter().filter_map(|segment| match segment {
        Segment::Key(key) => Some(key.as_str()),
        Segment::Item(_) => None,
    });
    // A path that ends in a list position is the item, not the key.
    if matches!(path.segments().last(), Some(Segment::Item(_))) {
        return false;
    }
    pattern.split('.').all(|step| keys.next().is_some_and(|key| matches_step(step, key)))
        && keys.next().is_none()
}

fn matches_step(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((head, tail)) => {
            key.len() >= head.len() + tail.len() && key.starts_with(head) && key.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusals, Verdict, refuse};
    use crate::{path::KeyPath, tree};

    static TABLE: Refusals = Refusals::new(&[
        refuse("kubernetes_service", "no kubernetes").unless_off(),
        refuse("proxy.kube_*", "no kubernetes"),
        refuse("proxy.mode", "one port only").unless(&["multiplex"]),
        refuse("storage.type", "no such engine").value("dynamodb"),
        refuse("outputs.roles", "roles come from the bot"),
    ]);

    fn verdict(path: &str, value: &str) -> &'static str {
        let node = tree::parse(value, &mut Vec::new()).map_err(|m| m.text).expect("reads");
        match TABLE.judge(&KeyPath::from(path), &node) {
            Verdict::Unlisted => "unlisted",
            Verdict::Harmless => "harmless",
            Verdict::Refused(reason) => reason,
        }
    }

    #[test]
    fn refuses_what_asks_for_something() {
        for (path, value, says) in [
            ("kubernetes_service", "{enabled: yes}", "no kubernetes"),
            ("kubernetes_service", "{labels: {a: b}}", "no kubernetes"),
            ("kubernetes_service", "{enabled: \"no\", labels: {a: b}}", "harmless"),
            ("kubernetes_service", "{}", "harmless"),
            ("proxy.kube_listen_addr", "0.0.0.0:3026", "no kubernetes"),
            ("proxy.kube_listen_addr", "\"\"", "harmless"),
            ("proxy.kub", "x", "unlisted"),
            ("proxy.mode", "separate", "one port only"),
            ("proxy.mode", "Multiplex", "harmless"),
            ("storage.type", "DynamoDB", "no such engine"),
            ("storage.type", "sqlite", "unlisted"),
            ("outputs[3].roles", "[a]", "roles come from the bot"),
            ("outputs[3]", "[a]", "unlisted"),
            ("outputs[3].roles.deeper", "[a]", "unlisted"),
        ] {
            assert_eq!(verdict(path, value), says, "{path}: {value}");
        }
    }
}
