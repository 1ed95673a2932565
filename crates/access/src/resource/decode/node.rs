//! Nodes.

use super::fields::{Fields, Item};
use super::{Invalid, Kind, metadata, version};
use crate::resource::Node;
use crate::resource::node::NodeSpec;
use crate::{HostPort, Labels, NodeName};

pub(super) fn decode(top: &mut Fields) -> Result<Node, Invalid> {
    let metadata = metadata::decode(top)?;
    version(top, Kind::Node)?;
    let id = metadata
        .name
        .parse()
        .map_err(|_| Invalid::new("metadata.name", "a node's name is its host id, a UUID"))?;
    let mut spec = top.section("spec")?;
    let node = NodeSpec {
        hostname: spec.take("hostname").map_or(Ok(String::new()), |item| hostname(&item))?,
        addr: spec.take("addr").map_or(Ok(String::new()), |item| address(&item))?,
        public_addrs: spec
            .take("public_addrs")
            .map_or(Ok(Vec::new()), Item::list)?
            .iter()
            .map(address)
            .collect::<Result<_, _>>()?,
        cmd_labels: Labels(spec.take("cmd_labels").map_or(Ok(Default::default()), metadata::labels)?),
        version: spec.take("version").map_or(Ok(String::new()), |item| word(&item))?,
        last_seen: spec.timestamp("last_seen")?,
    };
    spec.finish()?;
    Ok(Node { metadata, id, spec: node })
}

fn hostname(item: &Item) -> Result<String, Invalid> {
    match item.text()?.as_str() {
        "" => Ok(String::new()),
        _ => item.parse::<NodeName>().map(String::from),
    }
}

/// `host:port`; a node has no default port, so both must be there.
fn address(item: &Item) -> Result<String, Invalid> {
    let text = item.text()?;
    if text.is_empty() {
        return Ok(text);
    }
    let parsed = HostPort::parse(&text, 0).ok().filter(|address| address.port() != 0);
    let wrong = || item.invalid(format!("{:?} is not host:port", super::fields::shortened(&text)));
    parsed.map(|address| address.to_string()).ok_or_else(wrong)
}

fn word(item: &Item) -> Result<String, Invalid> {
    let word = item.text()?;
    match word.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(word),
        false => Err(item.invalid("one word is needed here")),
    }
}
