//! Azure vouches for a machine: what it signed is verified first, then the access token, and only for a machine of a
//! subscription that a rule is about is anybody asked. The access token goes to the Resource Manager of the cloud that signed,
//! and nowhere else; it is neither stored nor shown.

use super::Refused;
use super::vouched::{Judging, away, failed, whose};
use crate::arm;
use access::resource::token::Oidc;
use join::azure::{self, Attested, Cloud, Shown};
use join::oidc::{Claims, Jwks, ManagedIdentity, Unverified, verify_managed_identity};
use std::sync::Arc;

const DOCUMENT: &str = "attested document";
const ACCESS_TOKEN: &str = "access token";

impl Judging<'_> {
    /// Which machine this is.
    pub(super) async fn attested(&self, oidc: &Oidc, shown: &Shown) -> Result<Claims, Refused> {
        let attested = self.document(oidc, shown)?;
        let cloud = attested.cloud();
        let identity = match self.identity(cloud, shown, false).await? {
            // Azure may have changed its keys.
            Err(unverified) if unverified.may_be_rotation() => self.identity(cloud, shown, true).await?,
            verified => verified,
        };
        let wanted = "one of a managed identity of the machine";
        let identity = identity.map_err(|unverified| self.unverified(ACCESS_TOKEN, wanted, &unverified))?;
        if identity.machine.subscription != attested.subscription() {
            let check = failed("subscription", attested.subscription(), &identity.machine.subscription);
            let why = "the access token is of a machine in another subscription than the attested one";
            return Err(self.admission.refused(why).with(check, vec![]));
        }
        let machine = self.core.arm.machine(cloud, &identity.machine, &shown.access_token).await;
        let machine = machine.map_err(|unknown| match unknown {
            arm::Unknown::Refused(why) => {
                let check = failed(ACCESS_TOKEN, "one that may read the machine", &why);
                self.admission
                    .refused(format!("Azure does not tell of the machine: {why}"))
                    .with(check, vec![])
            }
            // Whoever makes auth ask for nothing pays for it.
            arm::Unknown::Away(trouble) => away(cloud.management, &trouble).charged(),
        })?;
        azure::confirm(&attested, &identity, &machine).map_err(|mismatch| {
            let check = failed(mismatch.field, &mismatch.wanted, &mismatch.found);
            let why = format!("the machine is not the attested one: {mismatch}");
            self.admission.refused(why).with(check, vec![])
        })
    }

    /// What Azure signed, for a machine that a rule may be about.
    fn document(&self, oidc: &Oidc, shown: &Shown) -> Result<Attested, Refused> {
        let Shown { document, certificates, nonce, .. } = shown;
        let authorities = oidc.settings.get("attestation_cas").and_then(|text| azure::authorities(text));
        let authorities = authorities.unwrap_or_default();
        let attested = Attested::verify(document, certificates, &authorities, nonce, self.core.now());
        let attested = attested.map_err(|error| {
            let check = failed(DOCUMENT, &whose(oidc), &error.to_string());
            self.admission.refused(format!("the attested document is not good: {error}")).with(check, vec![])
        })?;
        if azure::is_named(oidc, &attested) {
            return Ok(attested);
        }
        let wanted: Vec<String> =
            oidc.allow.iter().filter_map(|rule| rule.get("subscription")).map(ToString::to_string).collect();
        let check = failed("subscription", &wanted.join(", "), attested.subscription());
        let why = "no allow rule is about the subscription of the machine; Azure was not asked";
        Err(self.admission.refused(why).with(check, vec![]))
    }

    /// Whose the access token is.
    async fn identity(
        &self,
        cloud: &Cloud,
        shown: &Shown,
        anew: bool,
    ) -> Result<Result<ManagedIdentity, Unverified>, Refused> {
        let core = self.core;
        let (address, issuer) = cloud.keys();
        let keys: Result<Arc<Jwks>, String> = core.issuers.keys_at(&address, &issuer, anew).await;
        let keys = keys.map_err(|trouble| away(&address, &trouble))?;
        Ok(verify_managed_identity(&shown.access_token, &keys, cloud, core.now()))
    }
}
