//! Documents of a workload in files.

use super::{CAP, Terms, jwt, x509};
use crate::agent::AgentError;
use crate::agent::issue::{Given, Wish, unusable};
use crate::agent::member::Member;
use crate::agent::output::Fresh;
use crate::agent::refresh::Followed;
use crate::config::{Output, SvidFiles};
use crate::destination::FileSet;
use identity::key::SubjectKey;
use identity::pem;
use identity::svid::{WorkloadTrust, jwt_expires, valid_before, verify};
use jiff::Timestamp;
use join::oidc::{Jwks, verify_svid};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

const SVID: &str = "svid.pem";
const KEY: &str = "svid_key.pem";
const BUNDLE: &str = "svid_bundle.pem";

/// What an output asks the cluster for.
pub fn wishes(output: &Output, files: &SvidFiles) -> Result<Vec<Wish>, AgentError> {
    output.destination.prepare()?;
    let terms = Terms::of(output);
    let mut wishes = Vec::with_capacity(1 + files.jwts.len());
    if files.x509 {
        wishes.push(terms.x509(&files.svid)?);
    }
    wishes.extend(files.jwts.iter().map(|file| terms.jwt(&files.svid, &file.audience)));
    Ok(wishes)
}

/// What the cluster gave, written whole.
pub async fn written(
    member: &Member,
    output: &Output,
    files: &SvidFiles,
    mut given: Given,
    now: Timestamp,
) -> Result<Fresh, AgentError> {
    let trust = given.workload_trust()?;
    let mut set = FileSet::new();
    let mut until = Timestamp::MAX;
    if files.x509 {
        let held = x509(&mut given, &files.svid, now)?;
        let key = held.key.to_pem().map_err(AgentError::unusable("the key"))?;
        let chain: String = held.chain.iter().map(|der| pem::certificate(der)).collect();
        set.insert(SVID.to_owned(), text(chain));
        set.insert(KEY.to_owned(), Zeroizing::new(key.as_bytes().to_vec()));
        set.insert(BUNDLE.to_owned(), text(trust.x509_pem()));
        until = held.valid_before;
    }
    for file in &files.jwts {
        let svid = jwt(&mut given)?;
        until = until.min(Timestamp::from_second(svid.expires).map_err(unusable)?);
        set.insert(file.file_name.clone(), text(svid.token));
    }
    let whose = format!("the output {}", output.destination);
    member.compare_life((&whose, CAP), until, output.certificate_ttl, now);
    output.destination.publish_output(now, until, |_| set).await?;
    tracing::info!(service = output.name, output = %output.destination, expires = %until, "SVIDs written");
    Ok(Fresh { expires: until, trust: trust.revision })
}

/// The same documents and the same key with another trust bundle. Stale when there are none, or the bundle does not cover one of
/// them.
pub async fn rewrite(
    output: &Output,
    files: &SvidFiles,
    trust: &WorkloadTrust,
    now: Timestamp,
) -> Result<Followed, AgentError> {
    let mut set = FileSet::new();
    for name in names(files) {
        let Some(contents) = output.destination.read(name)? else { return Ok(Followed::Stale) };
        set.insert(name.to_owned(), contents);
    }
    if !is_covered(&set, files, trust, now) {
        return Ok(Followed::Stale);
    }
    let bundle = text(trust.x509_pem());
    if !files.x509 || set.get(BUNDLE) == Some(&bundle) {
        return Ok(Followed::AsBefore);
    }
    set.insert(BUNDLE.to_owned(), bundle);
    let until = expires(output, files).unwrap_or(now);
    output.destination.publish_output(now, until, |_| set).await?;
    Ok(Followed::Written)
}

/// Whether each document in `set` is one that those who go by `trust` accept, and the key is its own.
fn is_covered(set: &FileSet, files: &SvidFiles, trust: &WorkloadTrust, now: Timestamp) -> bool {
    let read = |name: &str| std::str::from_utf8(set.get(name)?).ok();
    let of_key = || {
        let blocks = pem::blocks(read(SVID)?).ok()?;
        let chain: Vec<CertificateDer<'_>> = blocks.iter().map(|block| block.der.as_slice().into()).collect();
        let (said, key) = (verify(&chain, trust, now).ok()?, SubjectKey::from_pem(read(KEY)?).ok()?);
        (said.key() == key.public() && said.id().path == files.svid.path).then_some(())
    };
    let Ok(keys) = Jwks::parse(trust.jwks().to_string().as_bytes()) else { return false };
    let is_token = |name: &str, audience: &[String]| {
        let token = read(name).unwrap_or_default();
        audience.iter().all(|audience| verify_svid(token, &keys, &trust.cluster, audience, now).is_ok())
    };
    (!files.x509 || of_key().is_some())
        && files.jwts.iter().all(|jwt| is_token(&jwt.file_name, &jwt.audience))
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
