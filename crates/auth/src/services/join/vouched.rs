//! A platform vouches for a job, a machine or a host: an ID token is verified, or AWS asked, and what comes of it is held
//! against the rules of the join token. A bot joins, or renews, by that.

use super::Refused;
use super::admission::{Admission, Voucher};
use super::bot::{By, Joined, Joining, Planned};
use crate::attempts;
use crate::catalog::{Reads, layout};
use crate::core::Core;
use crate::enrol::claim::Claim;
use crate::enrol::instance::Instance;
use crate::services::certificates::{Bearer, Renewing, Stop};
use crate::sts;
use access::InstanceId;
use access::resource::token::{Method, Oidc, Provider};
use access::resource::{Bot, Token};
use api::status::{Class, Problem};
use api::v1::JoinCheck;
use join::iam;
use join::oidc::{self, Claims, Jwks, Unverified, review};
use std::sync::Arc;
use store::{Expect, Revision, Txn};

/// A join token with rules, and what is held against them.
pub struct Judging<'a> {
    /// The service.
    pub core: &'a Core,
    /// The joiner.
    pub admission: &'a Admission,
    /// The join token.
    pub token: &'a Token,
    /// What was shown.
    pub voucher: &'a Voucher,
}

impl Judging<'_> {
    /// What the rule that lets it in found.
    pub async fn by(&self) -> Result<By, Refused> {
        let Method::Oidc(oidc) = &self.token.spec.method else {
            return Err(self.admission.refused("the token is of another join method"));
        };
        // The join token was read for this joiner: who is refused by it is not looked at twice.
        let claims = self.verified(oidc).await.map_err(Refused::settled)?;
        let verdict = oidc::judge(oidc, &claims);
        let checks: Vec<JoinCheck> = verdict.checks.iter().map(attempts::told).collect();
        let Some(rule) = verdict.rule else {
            let why = "id token claims did not match any allow rules";
            return Err(self.admission.refused(why).with(verified_check(oidc), checks).settled());
        };
        let fitting = verdict.checks.iter().filter(|check| check.rule == rule);
        let mut attributes: Vec<_> = fitting.map(|check| (check.field, check.found.clone())).collect();
        attributes.extend(claims.text("vm_id").map(|id| ("vm_id", format!("{id:?}"))));
        Ok(By { attributes, ..By::from(self.token) })
    }

    /// What the platform says.
    async fn verified(&self, oidc: &Oidc) -> Result<Claims, Refused> {
        let id_token = match self.voucher {
            Voucher::IdToken(id_token) => id_token,
            Voucher::Aws(request) => return self.signed(oidc, request).await,
            Voucher::Azure(shown) => return self.attested(oidc, shown).await,
        };
        let verified = match self.verify(oidc, id_token, false).await? {
            // The issuer may have changed its keys.
            Err(unverified) if unverified.may_be_rotation() => self.verify(oidc, id_token, true).await?,
            verified => verified,
        };
        verified.map_err(|unverified| self.unverified("ID token", &whose(oidc), &unverified))
    }

    /// The refusal of a token that is not good.
    pub(super) fn unverified(&self, what: &str, whose: &str, unverified: &Unverified) -> Refused {
        let check = match unverified {
            Unverified::Claim { claim, found, wanted } => failed(claim, wanted, found),
            other => failed(what, whose, &other.to_string()),
        };
        self.admission.refused(format!("the {what} is not good: {unverified}")).with(check, vec![])
    }

    /// Who AWS says has signed.
    async fn signed(&self, oidc: &Oidc, request: &iam::Request) -> Result<Claims, Refused> {
        let known = self.core.sts.caller(request).await;
        known.map_err(|unknown| match unknown {
            sts::Unknown::Refused(why) => {
                let check = failed(shown(oidc), &whose(oidc), &why);
                self.admission.refused(format!("AWS does not say who signed: {why}")).with(check, vec![])
            }
            // Whoever makes auth ask for nothing pays for it.
            sts::Unknown::Away(trouble) => away(&request.url, &trouble).charged(),
        })
    }

    async fn verify(
        &self,
        oidc: &Oidc,
        id_token: &str,
        anew: bool,
    ) -> Result<Result<Claims, Unverified>, Refused> {
        let core = self.core;
        if oidc.provider == Provider::Kubernetes && oidc.static_jwks.is_none() && oidc.remote.is_none() {
            return self.reviewed(oidc, id_token).await;
        }
        let keys = self.keys(oidc, anew).await?;
        Ok(oidc::verify(id_token, &keys, oidc, core.cluster.as_str(), core.now()))
    }

    async fn keys(&self, oidc: &Oidc, anew: bool) -> Result<Arc<Jwks>, Refused> {
        let core = self.core;
        if let Some(keys) = &oidc.static_jwks {
            let keys = Jwks::parse(keys.as_bytes());
            return keys.map(Arc::new).map_err(|error| {
                let check = failed("static_jwks", "a key set", &error.to_string());
                self.admission.refused(format!("static_jwks: {error}")).with(check, vec![])
            });
        }
        let issuer = oidc.issuer().unwrap_or_default();
        core.issuers.keys(&issuer, anew).await.map_err(|trouble| away(&issuer, &trouble))
    }

    /// What the Kubernetes cluster that auth runs in says of the token.
    async fn reviewed(&self, oidc: &Oidc, id_token: &str) -> Result<Result<Claims, Unverified>, Refused> {
        let core = self.core;
        let Some(reviews) = &core.kubernetes else {
            return Err(away("the Kubernetes API", "auth does not run in a Kubernetes cluster"));
        };
        let audience = oidc.audience(core.cluster.as_str());
        let claimed = match review::claimed(id_token, &audience, core.now()) {
            Ok(claimed) => claimed,
            Err(unverified) => return Ok(Err(unverified)),
        };
        let verdict = claimed.verdict(oidc);
        if verdict.rule.is_none() {
            let why =
                "no allow rule is about the service account that the token names; the API was not asked";
            let check = failed("ID token", &whose(oidc), "not looked at: no rule would let it in");
            let rules = verdict.checks.iter().map(attempts::told).collect();
            return Err(self.admission.refused(why).with(check, rules));
        }
        let answer = reviews.ask(id_token, &audience).await;
        // Whoever makes auth ask for nothing pays for it.
        let answer = answer.map_err(|trouble| away(&reviews.api.url, &trouble).charged())?;
        Ok(review::reviewed(&answer, &audience))
    }
}

fn verified_check(oidc: &Oidc) -> JoinCheck {
    JoinCheck { fits: true, ..failed(shown(oidc), &whose(oidc), "verified") }
}

/// A bot whose proof was good, each time anew.
pub struct Vouching<'a> {
    /// The joiner.
    pub joining: &'a Joining<'a>,
    /// The join token.
    pub token: &'a Token,
    /// As it was read.
    pub revision: Revision,
    /// An earlier use by the same attempt.
    pub claim: Option<(Claim, Revision)>,
    /// How it proved itself.
    pub by: By,
}

impl Vouching<'_> {
    /// Certificates for the one that was let in.
    pub async fn plan(&self, reads: &mut Reads<'_>) -> Planned {
        match self.renew(reads, &self.by).await? {
            Some(planned) => Ok(planned),
            None => self.join(reads, &self.by).await,
        }
    }

    fn admission(&self) -> &Admission {
        self.joining.admission
    }

    /// Over a certificate that is valid, the same instance; none where that one cannot go on.
    async fn renew(&self, reads: &mut Reads<'_>, by: &By) -> Result<Option<(Txn, Joined)>, Refused> {
        let Self { joining, token, .. } = self;
        let (core, admission) = (joining.core, joining.admission);
        let Ok(bearer) = Bearer::of(&admission.caller) else { return Ok(None) };
        if Some(bearer.bot.name) != token.spec.bot_name.as_ref() || bearer.bot.renewable {
            return Ok(None);
        }
        let (instance, revision) = match bearer.instance(core).await {
            Ok(found) => found,
            Err(problem) if problem.code == "instance_unknown" => return Ok(None),
            Err(problem) => return Err(problem.into()),
        };
        joining.refuse_locked(reads, token, bearer.bot.instance).await?;
        let method = Some((by.method, by.token_name.as_str()));
        let (caller, key, ttl_seconds) = (&admission.caller, &admission.key, joining.ttl_seconds);
        let renewing = Renewing { core, caller, bearer: &bearer, key, ttl_seconds, by: method };
        match renewing.plan(reads, instance, revision).await {
            Ok((txn, certificates)) => Ok(Some((self.unchanged(txn), certificates.into()))),
            Err(Stop::Refused(problem)) => Err(problem.into()),
            // The proof is the platform's, not the certificate: this is another copy of the job.
            Err(Stop::Incident(_, mismatch)) => {
                tracing::info!(bot = %bearer.bot.name, %mismatch, "a job joins as a new instance");
                Ok(None)
            }
        }
    }

    /// A new instance, or the one of this attempt again.
    async fn join(&self, reads: &mut Reads<'_>, by: &By) -> Planned {
        let Self { joining, token, .. } = self;
        let core = joining.core;
        let again = match &self.claim {
            Some((Claim::Bot { instance, vouched: true, .. }, _)) => Some(*instance),
            Some(_) => return Err(joining.admission.refused("the attempt was made by another join method")),
            None => None,
        };
        let id = again.unwrap_or_else(|| InstanceId(uuid::Uuid::new_v4()));
        let bot = joining.refuse_locked(reads, token, id).await?;
        let certificates = joining.certificates(&bot, by.own(id))?;
        let first = (joining.admission.fingerprint.as_str(), certificates.expires());
        let claim_key = joining.admission.claim_key();
        let instance = Instance::joined(&bot.name, id, first, &joining.seen(by), Some(claim_key.clone()));
        let txn = match &self.claim {
            Some((_, revision)) => {
                let revision = Expect::Revision(*revision);
                let txn = Txn::new().expect(claim_key, revision);
                txn.expect(instance.key(), self.first_generation(&bot, id).await?)
            }
            None => {
                let until = Claim::until(None, core.now());
                let claim = Claim::Bot { bot: bot.name.clone(), instance: id, vouched: true, until };
                let txn = Txn::new().expect(claim_key.clone(), Expect::Absent);
                claim.put(txn, claim_key).expect(instance.key(), Expect::Absent)
            }
        };
        let txn = joining.bind(instance.put(txn), &bot.name, id, certificates.expires()).await?;
        let txn = joining.recorded(self.unchanged(txn), by, &bot, id, &certificates);
        Ok((txn, certificates.into()))
    }

    /// The instance of this attempt, as long as it has not renewed since.
    async fn first_generation(&self, bot: &Bot, id: InstanceId) -> Result<Expect, Refused> {
        let key = layout::instance(&bot.name, id);
        let refused = |why: &str| Err(self.admission().refused(why));
        let Some(entry) = self.joining.core.catalog.read(&key).await? else {
            return refused("the instance of this attempt was removed");
        };
        let known = Instance::read(&entry).map_err(Problem::from)?;
        match known.lineage.is_first() && known.lineage.confirmed().key == self.admission().fingerprint {
            true => Ok(Expect::Revision(entry.revision)),
            false => refused("the instance of this attempt has renewed since"),
        }
    }

    /// Nobody joins by rules that were changed meanwhile.
    fn unchanged(&self, txn: Txn) -> Txn {
        txn.expect(layout::token(self.admission().proven.token()), Expect::Revision(self.revision))
    }
}

/// May pass, so the joiner is to try again.
pub(super) fn away(issuer: &str, trouble: &str) -> Refused {
    let reason = "the platform that vouches for this joiner could not be asked";
    let problem = Problem::new(Class::Unavailable, "issuer_unavailable", reason).hint("try again");
    let check = failed("issuer", issuer, trouble);
    Refused { proved: false, ..Refused::from(problem) }.with(check, vec![])
}

/// What joiners of this platform show.
fn shown(oidc: &Oidc) -> &'static str {
    match oidc.provider {
        Provider::Iam => "signed request",
        Provider::Azure => "attested document",
        _ => "ID token",
    }
}

pub(super) fn whose(oidc: &Oidc) -> String {
    let other = match oidc.static_jwks {
        Some(_) => "one by the keys of static_jwks",
        None if oidc.provider == Provider::Iam => "one that AWS STS knows the signer of",
        None if oidc.provider == Provider::Azure => "one that Azure signed for this attempt",
        None => "one of this cluster",
    };
    oidc.issuer().unwrap_or_else(|| other.to_owned())
}

/// A check that went wrong.
pub fn failed(field: &str, wanted: &str, found: &str) -> JoinCheck {
    let short = |text: &str| text.chars().take(512).collect();
    JoinCheck { rule: 0, field: field.to_owned(), wanted: short(wanted), found: short(found), fits: false }
}
