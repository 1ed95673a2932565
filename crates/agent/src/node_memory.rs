//! What a proxy remembers of the nodes, so that one that starts while auth is away still finds them.
//!
//! It says where nodes are and grants nothing: whoever is led to one still has to convince that node, and the node
//! has to convince the client.

use access::ClusterName;
use access::resource::{Node, Resource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::state::{LARGEST, StateDir, StateError};

const FILE: &str = "nodes.json";

/// The list of nodes on disk.
#[derive(Debug, Clone)]
pub struct NodeMemory {
    state: StateDir,
    cluster: ClusterName,
}

/// As it is remembered.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    cluster: String,
    nodes: Vec<Value>,
}

impl NodeMemory {
    pub(crate) fn new(state: StateDir, cluster: ClusterName) -> Self {
        Self { state, cluster }
    }

    /// What was remembered. A file that cannot be read whole counts as none, and the log says so.
    #[must_use]
    pub fn load(&self) -> Option<Vec<Node>> {
        match self.read() {
            Ok(nodes) => nodes,
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the remembered list of nodes is ignored; no node is found until auth has been reached, and the \
                     file is replaced then"
                );
                None
            }
        }
    }

    /// Remembers these instead of what was remembered before. It waits for the disk.
    pub fn save(&self, nodes: impl IntoIterator<Item = Node>) {
        let nodes = nodes.into_iter().map(|node| Resource::Node(node).to_json()).collect();
        let bytes = serde_json::to_vec(&Remembered { cluster: self.cluster.to_string(), nodes });
        let written = match bytes {
            Ok(bytes) if bytes.len() as u64 > LARGEST => {
                Err(self.wrong("there are too many nodes to remember"))
            }
            Ok(bytes) => self.state.write(FILE, &bytes),
            Err(error) => Err(self.wrong(error)),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "the list of nodes cannot be remembered; after a restart without auth they are not found");
        }
    }

    fn read(&self) -> Result<Option<Vec<Node>>, StateError> {
        let Some(bytes) = self.state.read(FILE)? else { return Ok(None) };
        let remembered: Remembered = serde_json::from_slice(&bytes).map_err(|error| self.wrong(error))?;
        if remembered.cluster != self.cluster.as_str() {
            return Err(self.wrong(format!("it is of the cluster {:?}", remembered.cluster)));
        }
        remembered.nodes.into_iter().map(|value| self.node(value)).collect::<Result<_, _>>().map(Some)
    }

    fn node(&self, value: Value) -> Result<Node, StateError> {
        match Resource::from_json(value) {
            Ok(Resource::Node(node)) => Ok(node),
            Ok(other) => Err(self.wrong(format!("it holds a {}", other.kind().as_str()))),
            Err(error) => Err(self.wrong(format!("{error:?}"))),
        }
    }

    fn wrong(&self, reason: impl ToString) -> StateError {
        StateError::new(&self.state.path(FILE), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::{FILE, NodeMemory};
    use crate::state::{LARGEST, StateDir};
    use access::resource::node::NodeSpec;
    use access::resource::{Metadata, Node};
    use access::{ClusterName, SystemRole};
    use std::os::unix::fs::PermissionsExt;

    fn node(number: u32) -> Node {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        let spec = NodeSpec {
            hostname: format!("web-{number}"),
            addr: "10.0.0.1:3022".into(),
            public_addrs: vec!["web.example.com:22".into()],
            ..NodeSpec::default()
        };
        let metadata = Metadata { name: id.clone(), ..Metadata::default() };
        Node { metadata, id: id.parse().expect("an id"), spec }
    }

    #[test]
    fn the_list_comes_back_whole_or_not_at_all() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(directory.path(), SystemRole::Proxy).expect("opens");
        let of = |name: &str| NodeMemory::new(state.clone(), ClusterName::new(name).expect("a name"));
        let memory = of("example.com");
        assert_eq!(memory.load(), None, "never heard");
        memory.save([]);
        assert_eq!(memory.load(), Some(Vec::new()), "heard that there are none");
        memory.save([node(1), node(2)]);
        assert_eq!(memory.load(), Some(vec![node(1), node(2)]));
        let mode = std::fs::metadata(state.path(FILE)).expect("kept").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(of("other.com").load(), None, "another cluster's");

        let whole = state.read(FILE).expect("read").expect("kept");
        let foreign = String::from_utf8(whole.clone()).expect("text").replacen("\"node\"", "\"user\"", 1);
        for damaged in [&whole[..whole.len() - 2], b"", b"\0\0\0\0", foreign.as_bytes()] {
            state.write(FILE, damaged).expect("written");
            assert_eq!(memory.load(), None);
        }
        std::fs::File::create(state.path(FILE)).expect("made").set_len(LARGEST + 1).expect("sparse");
        assert_eq!(memory.load(), None, "too large to be ours");
        memory.save([node(3)]);
        assert_eq!(memory.load(), Some(vec![node(3)]), "replaced");
    }
}
