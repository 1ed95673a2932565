//! `tctl nodes ls`.

use crate::Failure;
use crate::console::Table;
use crate::tctl::locked::Locks;
use crate::tctl::session::Session;
use crate::tctl::show;
use api::v1::ListNodesRequest;
use clap::Args;
use serde_json::Value;

/// Arguments of `tctl nodes ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// Only servers with these labels, like env=prod
    #[arg(value_name = "KEY=VALUE", value_delimiter = ',')]
    pub labels: Vec<String>,
}

impl Ls {
    pub(in crate::tctl) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let wanted = self.wanted()?;
        let answer = session.cluster()?.list_nodes(ListNodesRequest {}).await?.into_inner();
        let nodes = answer.json.iter().map(|json| serde_json::from_str::<Value>(json));
        let nodes: Result<Vec<Value>, _> = nodes.collect();
        let mut nodes = nodes
            .map_err(|error| Failure::new(format!("the server sent a node that is not JSON: {error}")))?;
        nodes.retain(|node| wanted.iter().all(|(key, value)| label(node, key) == Some(value)));
        nodes.sort_by(|a, b| order(a).cmp(&order(b)));
        let locks = Locks::read(session).await?;
        nodes.iter_mut().for_each(|node| locks.mark_node(node));
        session.show(&nodes, |nodes, console| console.say(table(nodes)))
    }

    fn wanted(&self) -> Result<Vec<(String, String)>, Failure> {
        let pair =
            |text: &String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let wanted: Option<Vec<_>> = self.labels.iter().map(pair).collect();
        wanted.ok_or_else(|| Failure::usage("labels are written KEY=VALUE"))
    }
}

/// Command labels win over static ones.
fn label<'a>(node: &'a Value, key: &str) -> Option<&'a str> {
    let of = |pointer: &str| node.pointer(pointer).and_then(|labels| labels.get(key)).and_then(Value::as_str);
    of("/spec/cmd_labels").or_else(|| of("/metadata/labels"))
}

fn order(node: &Value) -> (&str, &str) {
    (show::text(node, "/spec/hostname"), show::name(node))
}

fn table(nodes: &[Value]) -> String {
    let mut table = Table::new(["Host", "UUID", "Public Address", "Labels", "Version", "Status"]);
    for node in nodes {
        let public = show::list(node, "/spec/public_addrs");
        let status = match node.pointer("/status/online").and_then(Value::as_bool) {
            Some(true) => "online",
            Some(false) => "offline",
            None => "",
        };
        // A locked one is offline because auth does not listen to it.
        let lock = show::text(node, "/status/locked_by");
        let lock = (!lock.is_empty()).then(|| format!("locked ({lock})"));
        table.row([
            show::text(node, "/spec/hostname"),
            show::name(node),
            if public.is_empty() { show::text(node, "/spec/addr") } else { &public },
            &show::labels(&[node.pointer("/metadata/labels"), node.pointer("/spec/cmd_labels")]),
            show::text(node, "/spec/version"),
            lock.as_deref().unwrap_or(status),
        ]);
    }
    table.text()
}
