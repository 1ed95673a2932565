//! Documents for workloads: asked for, looked at, written (fact sheet, section 3.6).

use super::AgentError;
use super::member::{self, Member};
use crate::config::{Output, Svid, SvidFiles};
use crate::destination::FileSet;
use api::v1::workload_service_client::WorkloadServiceClient;
use api::v1::{IssueJwtSvidsRequest, IssueX509SvidsRequest, JwtSvid, JwtSvidRequest, X509SvidRequest};
use identity::key::SubjectKey;
use identity::pem;
use identity::svid::{WorkloadTrust, jwt_expires, valid_before, verify};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

const SVID: &str = "svid.pem";
const KEY: &str = "svid_key.pem";
const BUNDLE: &str = "svid_bundle.pem";
/// Where the limit of a document's life comes from.
const CAP: &str = "the limit is the shortest max_session_ttl of the output's roles, and 24h in any case";

/// An X.509-SVID with its key.
pub struct Held {
    /// `spiffe://...`.
    pub id: String,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: SubjectKey,
    /// Not valid from then on.
    pub valid_before: Timestamp,
}

/// What is asked for beside the workloads.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Roles that allow it; empty for all of the bot's.
    pub roles: Vec<String>,
    /// Life that is asked for, in seconds.
    pub ttl_seconds: u64,
}

impl Terms {
    /// Those of an output.
    pub fn of(output: &Output) -> Self {
        let roles = output.roles.iter().map(ToString::to_string).collect();
        Self { roles, ttl_seconds: output.certificate_ttl.as_secs() }
    }
}

/// An X.509-SVID with a fresh key for each workload, and whom to trust.
pub async fn x509(
    member: &Member,
    terms: &Terms,
    svids: &[&Svid],
    now: Timestamp,
) -> Result<(Vec<Held>, WorkloadTrust), AgentError> {
    let mut keys = Vec::with_capacity(svids.len());
    for _ in svids {
        keys.push(member::fresh_key()?);
    }
    let asked = svids.iter().zip(&keys).map(|(svid, key)| X509SvidRequest {
        public_key: key.spki_der(),
        path: svid.path.to_string(),
        dns_sans: svid.dns.iter().map(ToString::to_string).collect(),
        ip_sans: svid.addresses.iter().map(ToString::to_string).collect(),
        ttl_seconds: terms.ttl_seconds,
        roles: terms.roles.clone(),
        hint: svid.hint.clone(),
    });
    let request = IssueX509SvidsRequest { svids: asked.collect() };
    let answer = WorkloadServiceClient::new(member.channel()).issue_x509_svids(request).await;
    let answer = answer.map_err(AgentError::call("asking for X.509-SVIDs"))?.into_inner();
    let trust = trust(answer.trust)?;
    if answer.svids.len() != keys.len() {
        return Err(unusable("it has another number of SVIDs than were asked for"));
    }
    let mut held = Vec::with_capacity(keys.len());
    for ((svid, key), given) in svids.iter().zip(keys).zip(answer.svids) {
        let chain: Vec<CertificateDer<'static>> = given.certificates.into_iter().map(Into::into).collect();
        let said = verify(&chain, &trust, now.max(Timestamp::now())).map_err(unusable)?;
        if said.key() != key.public() || said.id().path != svid.path {
            return Err(unusable("an SVID is about another workload or another key"));
        }
        held.push(Held { id: said.id().to_string(), chain, key, valid_before: said.valid_before() });
    }
    Ok((held, trust))
}

/// A JWT-SVID for each workload and audience, and whom to trust.
pub async fn jwt(
    channel: tonic::transport::Channel,
    terms: &Terms,
    wanted: &[(&Svid, &[String])],
) -> Result<(Vec<JwtSvid>, WorkloadTrust), AgentError> {
    let asked = wanted.iter().map(|(svid, audience)| JwtSvidRequest {
        path: svid.path.to_string(),
        audience: audience.to_vec(),
        ttl_seconds: terms.ttl_seconds,
        roles: terms.roles.clone(),
        hint: svid.hint.clone(),
    });
    let request = IssueJwtSvidsRequest { svids: asked.collect() };
    let answer = WorkloadServiceClient::new(channel).issue_jwt_svids(request).await;
    let answer = answer.map_err(AgentError::call("asking for JWT-SVIDs"))?.into_inner();
    if answer.svids.len() != wanted.len() {
        return Err(unusable("it has another number of SVIDs than were asked for"));
    }
    Ok((answer.svids, trust(answer.trust)?))
}

fn trust(given: Option<api::v1::WorkloadTrust>) -> Result<WorkloadTrust, AgentError> {
    let given = given.ok_or_else(|| unusable("it has no trust bundle"))?;
    api::convert::workload_trust(given).map_err(unusable)
}

fn unusable(reason: impl std::fmt::Display) -> AgentError {
    AgentError::Unusable { what: "the cluster's answer", reason: reason.to_string() }
}

/// Fresh documents, written whole. Gives until when the first of them is good.
pub async fn write(
    member: &Member,
    output: &Output,
    files: &SvidFiles,
    now: Timestamp,
) -> Result<Timestamp, AgentError> {
    output.destination.prepare()?;
    let terms = Terms::of(output);
    let mut set = FileSet::new();
    let mut until = Timestamp::MAX;
    if files.x509 {
        let (mut held, trust) = x509(member, &terms, &[&files.svid], now).await?;
        let held = held.pop().ok_or_else(|| unusable("it has no SVID"))?;
        let key = held.key.to_pem().map_err(AgentError::unusable("the key"))?;
        let chain: String = held.chain.iter().map(|der| pem::certificate(der)).collect();
        set.insert(SVID.to_owned(), text(chain));
        set.insert(KEY.to_owned(), Zeroizing::new(key.as_bytes().to_vec()));
        set.insert(BUNDLE.to_owned(), text(trust.x509_pem()));
        until = held.valid_before;
    }
    if !files.jwts.is_empty() {
        let wanted: Vec<(&Svid, &[String])> =
            files.jwts.iter().map(|jwt| (&files.svid, jwt.audience.as_slice())).collect();
        let (svids, _) = jwt(member.channel(), &terms, &wanted).await?;
        for (file, svid) in files.jwts.iter().zip(svids) {
            let expires = Timestamp::from_second(svid.expires).map_err(unusable)?;
            until = until.min(expires);
            set.insert(file.file_name.clone(), text(svid.token));
        }
    }
    let whose = format!("the output {}", output.destination);
    member.compare_life((&whose, CAP), until, output.certificate_ttl, now);
    output.destination.publish_output(now, until, |_| set).await?;
    tracing::info!(service = output.name, output = %output.destination, expires = %until, "SVIDs written");
    Ok(until)
}

fn text(contents: String) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(contents.into_bytes())
}

/// What an earlier run wrote is good until then.
pub fn expires(output: &Output, files: &SvidFiles) -> Option<Timestamp> {
    let read = |name: &str| {
        let bytes = output.destination.read(name).ok()??;
        Some(Zeroizing::new(std::str::from_utf8(&bytes).ok()?.to_owned()))
    };
    let mut until = Vec::new();
    if files.x509 {
        let der = pem::first(pem::CERTIFICATE, &read(SVID)?).ok()?;
        until.push(valid_before(&CertificateDer::from(der.to_vec()))?);
    }
    for jwt in &files.jwts {
        until.push(jwt_expires(&read(&jwt.file_name)?)?);
    }
    until.into_iter().min()
}

/// The files that an output writes.
pub fn names(files: &SvidFiles) -> Vec<&str> {
    let x509 = if files.x509 { &[SVID, KEY, BUNDLE][..] } else { &[] };
    x509.iter().copied().chain(files.jwts.iter().map(|jwt| jwt.file_name.as_str())).collect()
}
