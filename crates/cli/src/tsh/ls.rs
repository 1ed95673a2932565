//! `tsh ls`: the hosts that the identity's roles can see.

use super::caller::Caller;
use super::failure::of_call;
use super::{Global, proxy_address};
use crate::Failure;
use crate::console::{Console, Table};
use crate::documents::Ordered;
use api::v1::ListNodesRequest;
use api::v1::cluster_service_client::ClusterServiceClient;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;
use transport::rpc::{connect_auth, within};

/// How long the list may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Options of `tsh ls`.
#[derive(Debug, Args)]
pub struct LsArguments {
    /// Only hosts with all of these labels
    #[arg(value_name = "KEY=VALUE", value_delimiter = ',')]
    pub labels: Vec<Wanted>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub format: Form,
}

/// Forms of a list of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A table for people
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Only the names, one on each line
    Names,
}

/// A label that a host must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    key: String,
    value: String,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("{text:?} is not KEY=VALUE")),
        }
    }
}

/// Asks auth, through the proxy, and prints.
pub async fn run(global: &Global, arguments: LsArguments) -> Result<ExitCode, Failure> {
    let caller = Caller::load(global, Timestamp::now())?;
    let proxy = proxy_address::resolve(global).await?;
    let mut auth = ClusterServiceClient::new(connect_auth(&proxy, &caller.live));
    let listed = auth.list_nodes(within(DEADLINE, ListNodesRequest {})).await;
    let listed = listed.map_err(|status| of_call(&status))?.into_inner().json;
    let mut hosts: Vec<Host> = listed.iter().map(|json| Host::read(json)).collect::<Result<_, _>>()?;
    hosts.retain(|host| host.has(&arguments.labels));
    hosts.sort_by(|a, b| (a.name(), a.id()).cmp(&(b.name(), b.id())));
    print(&hosts, arguments.format, &mut Console::of_process())?;
    Ok(ExitCode::SUCCESS)
}

fn print(hosts: &[Host], form: Form, console: &mut Console) -> Result<(), Failure> {
    let documents = || hosts.iter().map(|host| Ordered::of(&host.0)).collect::<Vec<_>>();
    match form {
        Form::Json => console.json(&documents()),
        Form::Yaml => console.yaml(&documents()),
        Form::Names => hosts.iter().try_for_each(|host| console.say(crate::escape::line(host.name()))),
        Form::Text => {
            let mut table = Table::new(["Node Name", "Address", "Labels"]);
            for host in hosts {
                table.row([host.name(), host.address(), &host.label_list()]);
            }
            console.say(table.text())?;
            if hosts.is_empty() {
                console.remark(
                    "no hosts: none is known, or the roles of this identity allow none with such labels",
                );
            }
            Ok(())
        }
    }
}

/// A node resource as auth sends it. Shown, never decided by, so a field that a newer server adds does no harm.
struct Host(Value);

impl Host {
    fn read(json: &str) -> Result<Self, Failure> {
        serde_json::from_str(json)
            .map(Self)
            .map_err(|_| Failure::new("auth lists a host that cannot be read; its version may not fit ours"))
    }

    fn name(&self) -> &str {
        self.0["spec"]["hostname"].as_str().unwrap_or_default()
    }

    fn id(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    fn address(&self) -> &str {
        self.0["spec"]["addr"].as_str().unwrap_or_default()
    }

    /// Labels of commands win over static ones.
    fn labels(&self) -> BTreeMap<&str, &str> {
        let fixed = self.0["metadata"]["labels"].as_object().into_iter().flatten();
        let found = self.0["spec"]["cmd_labels"].as_object().into_iter().flatten();
        fixed.chain(found).map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect()
    }

    fn has(&self, wanted: &[Wanted]) -> bool {
        let labels = self.labels();
        wanted.iter().all(|Wanted { key, value }| labels.get(key.as_str()) == Some(&value.as_str()))
    }

    /// Plain keys first, then those with a prefix of somebody's own.
    fn label_list(&self) -> String {
        let mut labels: Vec<(&str, &str)> = self.labels().into_iter().collect();
        labels.sort_by_key(|(key, _)| key.contains('/'));
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::{Host, Wanted};

    fn host() -> Host {
        let json = serde_json::json!({
            "kind": "node",
            "metadata": {"name": "id", "labels": {"env": "test", "a/b": "1", "arch": "old"}},
            "spec": {"hostname": "my-host", "addr": "127.0.0.1:3022", "cmd_labels": {"arch": "x86_64"}},
        });
        Host::read(&json.to_string()).expect("JSON")
    }

    #[test]
    fn a_hosts_columns() {
        let host = host();
        assert_eq!((host.name(), host.address()), ("my-host", "127.0.0.1:3022"));
        assert_eq!(host.label_list(), "arch=x86_64,env=test,a/b=1");
        assert_eq!(Host::read("{}").expect("JSON").name(), "");
        assert!(Host::read("{").is_err());
    }

    #[test]
    fn every_wanted_label_counts() {
        for (wanted, fits) in
            [("env=test", true), ("env=test,arch=x86_64", true), ("arch=old", false), ("x=", false)]
        {
            let wanted: Vec<Wanted> = wanted.split(',').map(|label| label.parse().expect(label)).collect();
            assert_eq!(host().has(&wanted), fits, "{wanted:?}");
        }
        assert!("env".parse::<Wanted>().is_err() && "=x".parse::<Wanted>().is_err());
    }
}
