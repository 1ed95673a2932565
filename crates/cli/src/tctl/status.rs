//! `tctl status`: the cluster in a few lines.

use super::session::Session;
use crate::Failure;
use crate::console::Table;
use api::v1::{AuthorityStatus, StatusRequest, StatusResponse};
use serde::Serialize;

#[derive(Serialize)]
struct Shown {
    cluster: String,
    version: String,
    authorities: Vec<Authority>,
    ca_pins: Vec<String>,
    health: String,
    nodes_online: u32,
    nodes_known: u32,
    proxies_online: u32,
    bot_instances: u32,
    proxy_addrs: Vec<String>,
}

#[derive(Serialize)]
struct Authority {
    #[serde(rename = "type")]
    kind: String,
    rotation: String,
}

pub(super) async fn run(session: &mut Session<'_>) -> Result<(), Failure> {
    let answer = session.cluster()?.status(StatusRequest {}).await?.into_inner();
    session.show(&Shown::of(answer), |shown, console| console.say(shown.table().text()))
}

impl Shown {
    fn of(answer: StatusResponse) -> Self {
        let StatusResponse {
            cluster,
            version,
            ca_pins,
            authorities,
            health,
            nodes_online,
            nodes_known,
            proxies_online,
            bot_instances,
            proxy_addrs,
        } = answer;
        let authority = |AuthorityStatus { kind, rotation }| Authority { kind, rotation };
        Self {
            cluster,
            version,
            authorities: authorities.into_iter().map(authority).collect(),
            ca_pins,
            health,
            nodes_online,
            nodes_known,
            proxies_online,
            bot_instances,
            proxy_addrs,
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::bare(2);
        table.row(["Cluster", &self.cluster]);
        table.row(["Version", &self.version]);
        for authority in &self.authorities {
            table.row([&format!("{} CA", authority.kind), &authority.rotation]);
        }
        for pin in &self.ca_pins {
            table.row(["CA pin", pin]);
        }
        table.row(["Health", &self.health]);
        table
    }
}
