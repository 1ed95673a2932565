//! `tbot ssh-proxy-command`: what OpenSSH runs to reach a node. One TLS connection, one question, then bytes.

mod pump;
mod standard;

use access::HostPort;
use api::v1::DialRequest;
use clap::Args;
use jiff::Timestamp;
use pump::pump;
use standard::{Input, Output};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use transport::dial::dial_ssh;
use transport::tls::{LiveCredentials, ServerTrust};

/// What is still on its way in one direction when the other has ended gets this long.
const GRACE: Duration = Duration::from_secs(2);

/// Flags of `tbot ssh-proxy-command`; written into `ssh_config`, not meant for people.
#[derive(Debug, Clone, Args)]
pub struct ProxyCommandFlags {
    /// The output directory with the identity
    #[arg(long)]
    pub destination_dir: PathBuf,
    /// Address of the proxy, host:port
    #[arg(long)]
    pub proxy_server: String,
    /// The cluster; from the identity unless set
    #[arg(long)]
    pub cluster: Option<String>,
    /// The login on the host
    #[arg(long)]
    pub user: String,
    /// The host
    #[arg(long)]
    pub host: String,
    /// The port; any when it is 0
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Accepted and always so
    #[arg(long, overrides_with = "no_tls_routing")]
    pub tls_routing: bool,
    #[arg(long, hide = true)]
    no_tls_routing: bool,
    #[arg(long, hide = true, overrides_with = "no_connection_upgrade")]
    connection_upgrade: bool,
    /// Accepted and always so
    #[arg(long)]
    pub no_connection_upgrade: bool,
    #[arg(long, hide = true, overrides_with = "no_resume")]
    resume: bool,
    /// Accepted and always so
    #[arg(long)]
    pub no_resume: bool,
}

/// Connects and carries bytes between standard input, standard output and the node until both are done.
pub async fn run(flags: ProxyCommandFlags) -> Result<(), String> {
    if flags.connection_upgrade {
        return Err(
            "--connection-upgrade is not supported: the proxy's port must be reached as it is".to_owned()
        );
    }
    let path = flags.destination_dir.join("identity");
    let bundle = std::fs::read_to_string(&path).map_err(|error| {
        format!(
            "cannot read {}: {error}; is tbot running, and may this user read its output?",
            path.display()
        )
    })?;
    let credentials =
        identity::file::decode(&bundle).map_err(|error| format!("{}: {error}", path.display()))?;
    if credentials.expires() <= Timestamp::now() {
        return Err(format!(
            "the credentials in {} expired at {}; tbot is not renewing them: look at its log",
            flags.destination_dir.display(),
            credentials.expires()
        ));
    }
    let cluster = flags.cluster.unwrap_or_else(|| credentials.trust.cluster.to_string());
    let host = host_in(&flags.host, &cluster).to_owned();
    let proxy = HostPort::parse(&flags.proxy_server, 3080).map_err(|error| error.to_string())?;
    let trust = ServerTrust::cluster(Arc::new(credentials.trust.clone())).or(ServerTrust::system());
    let live = LiveCredentials::new(credentials).map_err(|error| error.to_string())?;
    // The generated ssh_config says 3022 for every host; the node's own port is the proxy's business.
    let port = if flags.port == 3022 { 0 } else { flags.port };
    let request = DialRequest { host, port: port.into(), cluster, login: flags.user };
    let dialled = dial_ssh(&proxy, trust, &live, &request).await.map_err(|error| error.to_string())?;
    carry(dialled.stream).await.map_err(|error| format!("the connection through {proxy} broke: {error}"))
}

/// The node's name: `my-host` for `my-host.<cluster>`.
fn host_in<'a>(host: &'a str, cluster: &str) -> &'a str {
    host.strip_suffix(cluster)
        .and_then(|name| name.strip_suffix('.'))
        .filter(|name| !name.is_empty())
        .unwrap_or(host)
}

/// The node's end, or that of whoever reads from us, ends the session; the end of input alone only says that nothing
/// more comes.
async fn carry(stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (from_node, mut to_node) = tokio::io::split(stream);
    let (input, mut output) = (Input::open(), Output::open());
    let mut upward = pin!(async {
        pump(input, &mut to_node).await?;
        to_node.shutdown().await
    });
    let mut sent = None;
    let received = {
        let mut abandoned = pin!(output.abandoned());
        let mut downward = pin!(pump(from_node, &mut output));
        loop {
            tokio::select! {
                received = &mut downward => break received,
                () = &mut abandoned => break Ok(()),
                result = &mut upward, if sent.is_none() => {
                    let failed = result.is_err();
                    sent = Some(result);
                    if failed {
                        // The node's last words say why better than our broken pipe does.
                        break timeout(GRACE, &mut downward).await.unwrap_or(Ok(()));
                    }
                }
            }
        }
    };
    match received {
        // Nobody reads what we write: ssh has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        received => received.and(output.shutdown().await)?,
    }
    match sent {
        Some(_) => Ok(()),
        None => timeout(GRACE, upward).await.map_or(Ok(()), |_| Ok(())),
    }
}

#[cfg(test)]
mod tests {
    use super::host_in;

    #[test]
    fn the_clusters_name_is_no_part_of_the_hosts() {
        for (host, name) in [
            ("my-host.c.example", "my-host"),
            ("my-host", "my-host"),
            ("c.example", "c.example"),
            (".c.example", ".c.example"),
            ("a.b.c.example", "a.b"),
            ("my-hostc.example", "my-hostc.example"),
        ] {
            assert_eq!(host_in(host, "c.example"), name);
        }
    }
}
