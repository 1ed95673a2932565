//! An `identity` output: certificates, and files for all who use them (fact sheet, sections 3.2 to 3.5).

use super::AgentError;
use super::issue::{Given, Wish, too_few};
use super::member::{self, Member};
use super::refresh::Followed;
use super::ssh_host::signed_by;
use crate::config::{Content, Output, Server};
use crate::destination::FileSet;
use access::HostPort;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind;
use api::v1::{CertificateRequest, PingRequest};
use identity::TrustBundle;
use identity::credentials::Credentials;
use identity::openssh;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where the limit of an output's certificates comes from.
const OUTPUT_CAP: &str =
    "the limit is the shortest max_session_ttl of the output's roles, and 24h in any case";

/// What was written.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// Until when it is good.
    pub expires: Timestamp,
    /// The revision of the trust bundle that it goes by.
    pub trust: i64,
}

/// What came of one output.
pub type Written = Result<Fresh, Arc<AgentError>>;

/// What it asks the cluster for. Before that, whether the answer could be used.
pub fn wish(member: &Member, output: &Output) -> Result<Wish, AgentError> {
    of_own_cluster(output, &member.credentials())?;
    output.destination.prepare()?;
    let key = member::fresh_key()?;
    let request = CertificateRequest {
        public_key: key.spki_der(),
        roles: output.roles.iter().map(ToString::to_string).collect(),
        ttl_seconds: output.certificate_ttl.as_secs(),
    };
    Ok(Wish { kind: Kind::Certificate(request), key: Some(key) })
}

/// What an earlier run wrote is good until then.
pub fn expires(output: &Output) -> Option<Timestamp> {
    let bundle = output.destination.read("identity").ok()??;
    let credentials = identity::file::decode(std::str::from_utf8(&bundle).ok()?).ok()?;
    Some(credentials.expires())
}

/// What the cluster gave, written whole; `proxy` is where clients are sent to.
pub async fn written(
    member: &Member,
    output: &Output,
    mut given: Given,
    proxy: Option<&HostPort>,
    now: Timestamp,
) -> Result<Fresh, AgentError> {
    let (answer, key) = given.next()?;
    let Answer::Certificate(answer) = answer else { return Err(too_few()) };
    let credentials = member::credentials(key, Some(answer))?;
    let whose = format!("the output {}", output.destination);
    member.compare_life((&whose, OUTPUT_CAP), credentials.expires(), output.certificate_ttl, now);
    let fresh = Fresh { expires: credentials.expires(), trust: credentials.trust.revision };
    write(output, &credentials, proxy, now).await.map(|()| fresh)
}

/// Writes what is there already with another trust bundle: the same key, the same certificates. Stale when there is nothing
/// to write, or the bundle does not know who signed it.
pub async fn rewrite(
    member: &Member,
    server: &Server,
    output: &Output,
    trust: &TrustBundle,
    now: Timestamp,
) -> Result<Followed, AgentError> {
    let Some(bundle) = output.destination.read("identity")? else { return Ok(Followed::Stale) };
    let bundle = std::str::from_utf8(&bundle).map_err(AgentError::unusable("what was written before"))?;
    let mut credentials =
        identity::file::decode(bundle).map_err(AgentError::unusable("what was written before"))?;
    if credentials.expires() <= now || !signed_by(&credentials.ssh_certificate, &trust.user) {
        return Ok(Followed::Stale);
    }
    credentials.trust = trust.clone();
    let proxy = if output.ssh_config() { Some(proxy_address(member, server).await?) } else { None };
    write(output, &credentials, proxy.as_ref(), now).await.map(|()| Followed::Written)
}

fn of_own_cluster(output: &Output, own: &Credentials) -> Result<(), AgentError> {
    let Content::Identity { cluster, .. } = &output.content else { return Ok(()) };
    match cluster {
        Some(wanted) if *wanted != own.trust.cluster => Err(AgentError::OtherCluster {
            destination: output.destination.to_string(),
            wanted: wanted.to_string(),
            cluster: own.trust.cluster.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The proxy that clients are sent to: the one configured, else the first that the cluster names.
pub async fn proxy_address(member: &Member, server: &Server) -> Result<HostPort, AgentError> {
    if let Server::Proxy(_) = server {
        return member::address(server);
    }
    let ping = ClusterServiceClient::new(member.channel()).ping(PingRequest {}).await;
    let ping = ping.map_err(AgentError::call("asking for the proxy's address"))?.into_inner();
    let first = ping.proxy_addrs.first().ok_or_else(|| AgentError::Unusable {
        what: "the cluster",
        reason:
            "no proxy is connected, so ssh_config could not name one; start a proxy, or set ssh_config: off"
                .into(),
    })?;
    HostPort::parse(first, 3080).map_err(AgentError::unusable("the proxy's address"))
}

async fn write(
    output: &Output,
    credentials: &Credentials,
    proxy: Option<&HostPort>,
    now: Timestamp,
) -> Result<(), AgentError> {
    let expires = credentials.expires();
    let mut files = base_files(credentials)?;
    let text = |contents: String| Zeroizing::new(contents.into_bytes());
    for (name, authority) in
        [("teleport-host-ca.crt", &credentials.trust.host), ("teleport-user-ca.crt", &credentials.trust.user)]
    {
        let pem: String = authority.tls.iter().map(|der| identity::pem::certificate(der)).collect();
        files.insert(name.to_owned(), text(pem));
    }
    // Part of the layout; there is no database authority.
    files.insert("teleport-database-ca.crt".to_owned(), text(String::new()));
    let mut rendered = None;
    if let Some(proxy) = proxy {
        let known = openssh::known_hosts(&credentials.trust, proxy.host())
            .map_err(AgentError::unusable("known_hosts"))?;
        files.insert("known_hosts".to_owned(), text(known));
        if let Some(directory) = output.destination.path() {
            rendered = Some(SshConfig::new(directory, proxy, credentials)?);
        }
    }
    let render = |generation: &Path| {
        if let Some(config) = &rendered {
            files.insert("ssh_config".to_owned(), text(config.render(generation)));
        }
        files
    };
    output.destination.publish_output(now, expires, render).await?;
    tracing::info!(service = output.name, output = %output.destination, %expires, "credentials written");
    Ok(())
}

/// The files that every set has: key, certificates and the bundle of them.
pub fn base_files(credentials: &Credentials) -> Result<FileSet, AgentError> {
    let bytes = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    let pem = credentials.key.to_sec1_pem().map_err(AgentError::unusable("the key"))?;
    let public = credentials.key.ssh_public().to_openssh().map_err(AgentError::unusable("the key"))?;
    let bundle = identity::file::encode(credentials).map_err(AgentError::unusable("the identity"))?;
    let leaf = credentials.tls_chain.first().map(|der| identity::pem::certificate(der)).unwrap_or_default();
    Ok([
        ("key".to_owned(), bytes(&pem)),
        ("key.pub".to_owned(), bytes(&format!("{public}\n"))),
        ("key-cert.pub".to_owned(), bytes(&format!("{}\n", credentials.ssh_certificate.line().trim_end()))),
        ("tlscert".to_owned(), bytes(&leaf)),
        ("identity".to_owned(), bytes(&bundle)),
    ]
    .into())
}

/// Everything of `ssh_config` but the generation that it will stand in, checked beforehand.
struct SshConfig {
    rendered: String,
}

/// Linux marks the path of a running program whose file was replaced (proc(5), `/proc/pid/exe`). The file that stands there
/// now is what has to be called.
fn after_upgrade(program: PathBuf) -> PathBuf {
    let replaced = program.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    match replaced {
        Some(replaced) if !program.exists() && replaced.exists() => replaced,
        _ => program,
    }
}

/// Stands for the generation's directory until that is known.
const GENERATION: &str = "/generation/of/this/output";

impl SshConfig {
    fn new(directory: &Path, proxy: &HostPort, credentials: &Credentials) -> Result<Self, AgentError> {
        let program = std::env::current_exe().map_err(AgentError::unusable("the path of tbot"))?;
        let program = after_upgrade(program);
        let command = [
            program.to_string_lossy().into_owned(),
            "ssh-proxy-command".to_owned(),
            format!("--destination-dir={}", directory.display()),
            format!("--proxy-server={proxy}"),
            format!("--cluster={}", credentials.trust.cluster),
            "--tls-routing".to_owned(),
            "--no-connection-upgrade".to_owned(),
            "--no-resume".to_owned(),
        ];
        let generation = Path::new(GENERATION);
        let (known_hosts, key, certificate) =
            (directory.join("known_hosts"), generation.join("key"), generation.join("key-cert.pub"));
        let config = openssh::SshConfig {
            app: "tbot",
            cluster: &credentials.trust.cluster,
            proxy_host: proxy.host(),
            known_hosts: &known_hosts,
            key: &key,
            certificate: &certificate,
            proxy_command: &command,
        };
        let rendered = config.render().map_err(AgentError::unusable("ssh_config"))?;
        Ok(Self { rendered })
    }

    fn render(&self, generation: &Path) -> String {
        self.rendered.replace(GENERATION, &generation.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::after_upgrade;

    /// A package manager replaces the file under a running agent; its next `ssh_config` has to call the new one.
    #[test]
    fn a_program_that_was_replaced_is_called_by_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, marked) = (directory.path().join("tbot"), directory.path().join("tbot (deleted)"));
        assert_eq!(after_upgrade(marked.clone()), marked, "nothing took its place");
        std::fs::write(&path, "").expect("written");
        assert_eq!(after_upgrade(marked.clone()), path);
        assert_eq!(after_upgrade(path.clone()), path);
        std::fs::write(&marked, "").expect("written");
        assert_eq!(after_upgrade(marked.clone()), marked, "its name is that");
    }
}
