//! From a target to an authenticated connection with its node: one dial through the proxy, one SSH handshake.

use super::Global;
use super::caller::Caller;
use super::failure::refusal;
use super::target::Target;
use super::{failure, proxy_address};
use crate::Failure;
use access::Login;
use api::v1::DialRequest;
use jiff::Timestamp;
use std::time::Duration;
use transport::dial::{Dialled, dial_ssh};
use transport::ssh::client::{Client, ClientConfig, ClusterHost, ConnectError, HostRefusal};
use transport::ssh::{Ended, Keepalive, UserCredentials};

/// A host that does not answer for so long is gone: people wait at a terminal that they cannot use.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(30), count: 3 };

/// Asks the proxy for a stream to `target`.
pub async fn dial(
    global: &Global,
    caller: &Caller,
    target: &Target,
    login: &Login,
    port: u16,
) -> Result<Dialled, Failure> {
    let proxy = proxy_address::resolve(global).await?;
    let cluster = match &global.cluster {
        Some(name) => {
            access::ClusterName::new(name.as_str()).map_err(|error| Failure::new(error.to_string()))?
        }
        None => caller.cluster().clone(),
    };
    let request = DialRequest {
        host: target.host_in(cluster.as_str()).to_owned(),
        port: u32::from(port),
        cluster: cluster.to_string(),
        login: login.to_string(),
    };
    let dialled = dial_ssh(&proxy, caller.proxy_trust(), &caller.live, &request).await?;
    global.tell(|| format!("{proxy} connected {} as host {}", request.host, dialled.host_id));
    Ok(dialled)
}

/// Connects to `target` and logs in.
pub async fn connect(global: &Global, target: &Target, port: u16) -> Result<Client, Failure> {
    let caller = Caller::load(global, Timestamp::now())?;
    let login = caller.login(global, target)?;
    let dialled = dial(global, &caller, target, &login, port).await?;
    // What the proxy says of the host decides nothing: it must not be able to lead anybody to another host.
    let names = names(target, caller.cluster().as_str());
    let verifier = ClusterHost { trust: caller.credentials.trust.clone(), names: names.to_vec() };
    let ssh_credentials = UserCredentials::of(&caller.credentials)
        .map_err(|error| Failure::new(format!("{}: {error}", caller.file.display())))?;
    let mut config = ClientConfig::new(login.as_str(), ssh_credentials);
    config.keepalive = KEEPALIVE;
    match transport::ssh::client::connect(dialled.stream, config, verifier).await {
        // Nobody listens on the host for us: connections from there are refused.
        Ok((client, _)) => Ok(client),
        Err(error) => Err(not_connected(error, &caller, target, &login)),
    }
}

/// Names login and host: the reason itself is often known to the node alone.
fn not_connected(error: ConnectError, caller: &Caller, target: &Target, login: &Login) -> Failure {
    let host = &target.host;
    let explain = || {
        format!(
            "no role of this identity may allow the login there; an administrator sees why with: \
             tctl explain ssh --as {} --login {login} --node {host}",
            caller.subject()
        )
    };
    match error {
        ConnectError::Denied(_) => {
            refusal(&format!("{host} refuses the login {login}"), "access_denied").hint(explain())
        }
        ConnectError::Ended(Ended::Peer(words)) if !words.is_empty() => {
            Failure::new(format!("{host} refuses the login {login}: {words}")).hint(explain())
        }
        ConnectError::Host(HostRefusal { code, reason }) => refusal(
            &format!("{host} is not to be trusted: {reason}"),
            &code,
        )
        .hint(
            "tsh ls lists the names of hosts; if the name is right, something is in between or misconfigured",
        ),
        error => failure::in_session(Failure::new(format!("cannot connect to {host}: {error}"))),
    }
}

/// The host's name with and without the cluster's.
fn names(target: &Target, cluster: &str) -> [String; 2] {
    let name = target.host_in(cluster);
    [name.to_owned(), format!("{name}.{cluster}")]
}

#[cfg(test)]
mod tests {
    use super::names;
    use crate::tsh::target::Target;

    #[test]
    fn a_host_is_known_by_its_name_with_and_without_the_clusters() {
        for host in ["my-host", "my-host.c.example", "MY-HOST.c.example"] {
            let target = Target::parse(host).expect("a host");
            assert_eq!(names(&target, "c.example"), ["my-host", "my-host.c.example"]);
        }
    }
}
