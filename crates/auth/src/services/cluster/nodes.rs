//! The nodes on record: which ones a caller sees, and which one a name means.

use crate::caller::Caller;
use crate::catalog::{layout, record};
use crate::core::Core;
use crate::services::rights::Rights;
use access::HostId;
use access::rbac::ssh;
use access::resource::{Kind, Node, Resource};
use api::status::{Class, Problem};
use serde_json::json;

/// The nodes that the caller's roles reach under some login, as JSON with `status.online`, by host name.
pub(super) async fn list(core: &Core, caller: &Caller) -> Result<Vec<String>, Problem> {
    let rights = Rights::of(&core.catalog, caller).await?;
    let online = core.presence.nodes_online();
    let mut nodes = known(core).await?;
    nodes.retain(|node| match &rights {
        Rights::All => true,
        Rights::Roles(roles) => ssh::visible(roles, &node.labels()),
    });
    nodes.sort_by(|a, b| (&a.spec.hostname, a.id).cmp(&(&b.spec.hostname, b.id)));
    Ok(nodes.into_iter().map(|node| shown(online.contains(&node.id), node)).collect())
}

/// The one node with this host name or host id, for an administrator, who may know that there is none.
pub(super) async fn find(core: &Core, wanted: &str) -> Result<Node, Problem> {
    let any_case = core
        .catalog
        .view()
        .networking
        .as_ref()
        .is_some_and(|found| found.value.spec.case_insensitive_routing);
    let id = wanted.parse::<HostId>().ok();
    let fits = |node: &Node| match any_case {
        _ if Some(node.id) == id => true,
        true => node.spec.hostname.eq_ignore_ascii_case(wanted),
        false => node.spec.hostname == wanted,
    };
    let mut found: Vec<Node> = known(core).await?.into_iter().filter(fits).collect();
    match (found.pop(), found.len()) {
        (Some(node), 0) => Ok(node),
        (Some(last), _) => {
            let ids: Vec<String> = found.iter().chain([&last]).map(|node| node.id.to_string()).collect();
            let reason = format!("several nodes are called {wanted:?}: {}", ids.join(", "));
            Err(Problem::new(Class::Precondition, "node_ambiguous", reason).hint("name one by its id"))
        }
        (None, _) => Err(Problem::new(Class::NotFound, "not_found", format!("node {wanted:?} not found"))
            .hint("tctl get nodes lists them")),
    }
}

async fn known(core: &Core) -> Result<Vec<Node>, Problem> {
    let entries = core.catalog.all(layout::kind(Kind::Node)).await?;
    let mut nodes = Vec::with_capacity(entries.len());
    for entry in &entries {
        match record::decode(entry) {
            Ok(Resource::Node(node)) => nodes.push(node),
            Ok(other) => tracing::error!(key = %entry.key, kind = %other.kind(), "this is not a node"),
            // One node that cannot be read does not hide the others.
            Err(damaged) => tracing::error!(%damaged, "a node is left out"),
        }
    }
    Ok(nodes)
}

fn shown(online: bool, node: Node) -> String {
    let mut json = Resource::Node(node).to_json();
    json["status"] = json!({"online": online});
    json.to_string()
}
