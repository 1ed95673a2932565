//! An `identity` output: certificates for each, files for all who use them (fact sheet, sections 3.2 to 3.5).

use super::AgentError;
use super::member::{self, Member};
use crate::config::{Config, Output};
use crate::destination::FileSet;
use access::HostPort;
use api::v1::certificate_service_client::CertificateServiceClient;
use api::v1::cluster_service_client::ClusterServiceClient;
use api::v1::{IssueOutputsRequest, OutputRequest, PingRequest};
use identity::credentials::Credentials;
use identity::openssh;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the limit of an output's certificates comes from.
const OUTPUT_CAP: &str =
    "the limit is the shortest max_session_ttl of the output's roles, and 24h in any case";

/// Fresh certificates for all outputs in one call, each written whole. Gives the end of the one that ends first, the
/// agent's own among them.
pub async fn refresh(member: &Member, config: &Config, now: Timestamp) -> Result<Timestamp, AgentError> {
    let mut first_end = member.credentials().expires();
    if config.outputs.is_empty() {
        return Ok(first_end);
    }
    for output in &config.outputs {
        of_own_cluster(output, &member.credentials())?;
        output.destination.prepare()?;
    }
    let mut keys = Vec::with_capacity(config.outputs.len());
    for _ in &config.outputs {
        keys.push(member::fresh_key()?);
    }
    let requests = config.outputs.iter().zip(&keys).map(|(output, key)| OutputRequest {
        public_key: key.spki_der(),
        roles: output.roles.iter().map(ToString::to_string).collect(),
        ttl_seconds: config.certificate_ttl.as_secs(),
    });
    let request = IssueOutputsRequest { outputs: requests.collect() };
    let mut client = CertificateServiceClient::new(member.channel());
    let answer = client
        .issue_outputs(request)
        .await
        .map_err(AgentError::call("asking for the outputs' certificates"))?;
    let issued = answer.into_inner().credentials;
    if issued.len() != keys.len() {
        let reason = format!("{} certificates for {} outputs", issued.len(), keys.len());
        return Err(AgentError::Unusable { what: "the cluster's answer", reason });
    }
    let proxy = proxy_address(member, config).await?;
    for ((output, key), given) in config.outputs.iter().zip(keys).zip(issued) {
        let credentials = member::credentials(key, Some(given))?;
        member.compare_life(&format!("the output {}", output.destination), OUTPUT_CAP, &credentials, now);
        write(output, &credentials, &proxy, config, now)?;
        first_end = first_end.min(credentials.expires());
    }
    Ok(first_end)
}

fn of_own_cluster(output: &Output, own: &Credentials) -> Result<(), AgentError> {
    match &output.cluster {
        Some(wanted) if *wanted != own.trust.cluster => Err(AgentError::OtherCluster {
            destination: output.destination.to_string(),
            wanted: wanted.to_string(),
            cluster: own.trust.cluster.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The proxy that clients are sent to: the one configured, else the first that the cluster names.
async fn proxy_address(member: &Member, config: &Config) -> Result<HostPort, AgentError> {
    if let crate::config::Server::Proxy(_) = config.server {
        return member::address(&config.server);
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

fn write(
    output: &Output,
    credentials: &Credentials,
    proxy: &HostPort,
    config: &Config,
    now: Timestamp,
) -> Result<(), AgentError> {
    let expires = credentials.expires();
    if expires.duration_since(now).unsigned_abs() < config.renewal_interval && !config.oneshot {
        tracing::warn!(output = %output.destination, %expires, "the certificate expires before the next renewal; lower renewal_interval or raise the roles' max_session_ttl");
    }
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
    let directory = output.destination.path().filter(|_| output.ssh_config).map(Path::to_owned);
    if output.ssh_config {
        let known = openssh::known_hosts(&credentials.trust, proxy.host())
            .map_err(AgentError::unusable("known_hosts"))?;
        files.insert("known_hosts".to_owned(), text(known));
    }
    let rendered = match &directory {
        None => None,
        Some(directory) => Some(SshConfig::new(directory, proxy, credentials)?),
    };
    output.destination.publish(now, expires, |generation| {
        if let Some(config) = &rendered {
            files.insert("ssh_config".to_owned(), text(config.render(generation)));
        }
        files
    })?;
    tracing::info!(output = %output.destination, %expires, "credentials written");
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
