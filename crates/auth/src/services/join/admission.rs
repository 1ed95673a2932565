//! What both kinds of joiners have in common: a proof, a token, and perhaps an earlier use of it.

use super::Refused;
use crate::caller::Caller;
use crate::catalog::layout;
use crate::core::Core;
use crate::enrol::claim::Claim;
use crate::enrol::trace::Trace;
use crate::tokens::Fixed;
use access::SystemRole;
use access::resource::Token;
use access::resource::token::{JoinMethod, Provider, masked};
use api::status::Problem;
use identity::key::PublicKey;
use jiff::Timestamp;
use join::bound_keypair::Shown;
use join::tpm::Activated;
use join::{Proven, azure, iam};
use store::{Expect, Key, Revision, Txn};
use zeroize::Zeroizing;

/// A joiner that has proven its key.
pub struct Admission {
    /// What was proven.
    pub proven: Proven,
    /// By what more than the token's name.
    pub proof: Proof,
    /// The key.
    pub key: PublicKey,
    /// The key's.
    pub fingerprint: String,
    /// A secret.
    pub token_name: String,
    /// Who asks.
    pub caller: Caller,
}

/// What a joiner shows.
pub enum Proof {
    /// That it knows the token's name.
    Name,
    /// A key that it keeps.
    Bound(Shown),
    /// A TPM, which gave out its secret.
    Tpm(Activated),
    /// What makes a platform vouch for it.
    Vouched(Voucher),
}

/// What makes a platform vouch for a joiner.
pub enum Voucher {
    /// An ID token, which says everything.
    IdToken(Zeroizing<String>),
    /// A request that AWS answers.
    Aws(iam::Request),
    /// What Azure says of its machine.
    Azure(azure::Shown),
}

impl Voucher {
    fn is_of(&self, provider: Provider) -> bool {
        match self {
            Self::Aws(_) => provider == Provider::Iam,
            Self::Azure(_) => provider == Provider::Azure,
            Self::IdToken(_) => !matches!(provider, Provider::Iam | Provider::Azure),
        }
    }
}

/// A token that may be spent.
pub enum Grant {
    /// From the store, at a revision.
    Stored(Box<Token>, Revision),
    /// From the configuration, or of this process.
    Fixed(Fixed),
}

/// What is known of token and attempt.
pub struct Standing {
    /// The token, if it may be used for this role now; otherwise what is wrong with it.
    pub grant: Result<Grant, NoGrant>,
    /// An earlier use by the same attempt.
    pub claim: Option<(Claim, Revision)>,
}

/// Why a token grants nothing.
#[derive(Debug, Clone)]
pub enum NoGrant {
    /// There is none of that name.
    Unknown,
    /// There was one.
    Gone(String),
    /// There is, and it is not good for this.
    Unfit(String),
    /// The same of one whose name is no secret: who knows it has proved nothing.
    PublicUnfit(String),
}

impl Admission {
    /// A refusal for which the joiner hears what all hear who show what it showed.
    pub fn refused(&self, why: impl Into<String>) -> Refused {
        match self.proof {
            Proof::Name => Refused::token(self.proven.attempt(), why),
            Proof::Bound(_) | Proof::Tpm(_) | Proof::Vouched(_) => Refused::proof(self.proven.attempt(), why),
        }
    }

    /// The refusal where a token grants nothing.
    pub fn no_grant(&self, none: NoGrant) -> Refused {
        match none {
            NoGrant::Unknown => {
                Refused::unproven(self.refused("there is no such token, and there was none in the last day"))
            }
            NoGrant::Gone(why) => Refused::unproven(self.refused(why)),
            NoGrant::Unfit(why) => self.refused(why),
            NoGrant::PublicUnfit(why) => Refused::unproven(self.refused(why)),
        }
    }

    /// The token of the store that may be spent.
    pub fn stored<'g>(&self, grant: &'g Result<Grant, NoGrant>) -> Result<(&'g Token, Revision), Refused> {
        match grant {
            Ok(Grant::Stored(token, revision)) => Ok((token, *revision)),
            Ok(Grant::Fixed(_)) => Err(self.refused("it is a token of the configuration")),
            Err(none) => Err(self.no_grant(none.clone())),
        }
    }

    /// Where the use of the token by this attempt is remembered.
    pub fn claim_key(&self) -> Key {
        layout::claim(self.proven.token(), self.proven.attempt())
    }

    /// Reads token and claim from the store: each time, because both are judged by.
    pub async fn standing(&self, core: &Core) -> Result<Standing, Refused> {
        let (token_key, claim_key) = (layout::token(self.proven.token()), self.claim_key());
        // The token first: if it was spent by this very attempt, the claim is there when it is gone.
        let stored = core.catalog.read(&token_key).await?;
        let claim = match core.catalog.read(&claim_key).await? {
            Some(entry) => Some((Claim::read(&entry).map_err(Problem::from)?, entry.revision)),
            None => None,
        };
        let grant = match (core.tokens.fixed(self.proven.token()), stored) {
            (Some(fixed), _) => Ok(Grant::Fixed(fixed.clone())),
            (None, Some(entry)) => {
                let token = core.tokens.open(&entry).map_err(Problem::from)?;
                Ok(Grant::Stored(Box::new(token), entry.revision))
            }
            (None, None) => Err(self.gone(core).await?),
        };
        Ok(Standing { grant: grant.and_then(|grant| self.fits(grant, core.now())), claim })
    }

    /// What is known of a token that there is not.
    async fn gone(&self, core: &Core) -> Result<NoGrant, Refused> {
        let Some(entry) = core.catalog.read(&layout::token_trace(self.proven.token())).await? else {
            return Ok(NoGrant::Unknown);
        };
        Ok(NoGrant::Gone(Trace::read(&entry).map_err(Problem::from)?.why(core.now())))
    }

    fn fits(&self, grant: Grant, now: Timestamp) -> Result<Grant, NoGrant> {
        let unfit = match grant.method() {
            JoinMethod::Token => NoGrant::Unfit,
            _ => NoGrant::PublicUnfit,
        };
        if let Some(expires) = grant.expires().filter(|expires| *expires <= now) {
            return Err(unfit(format!("the token expired at {expires}")));
        }
        if !grant.roles().contains(&self.proven.role()) {
            let roles: Vec<&str> = grant.roles().iter().map(|role| role.as_str()).collect();
            let (roles, wanted) = (roles.join(", "), self.proven.role());
            return Err(unfit(format!("the token is for the roles {roles}, not for {wanted}")));
        }
        match (&self.proof, grant.method()) {
            (Proof::Name, JoinMethod::Token)
            | (Proof::Bound(_), JoinMethod::BoundKeypair)
            | (Proof::Tpm(_), JoinMethod::Tpm) => Ok(grant),
            (Proof::Vouched(voucher), JoinMethod::Oidc(provider)) if voucher.is_of(provider) => Ok(grant),
            _ => Err(unfit(format!("the token is of the join method {}", grant.method().as_str()))),
        }
    }

    /// The name as it may stand in events.
    pub fn safe_token_name(&self) -> String {
        masked(&self.token_name)
    }

    /// From where, as it is remembered.
    pub fn from(&self) -> String {
        self.caller.addr.map(|addr| addr.to_string()).unwrap_or_default()
    }

    /// The transaction that uses the token, to be completed: it expects the token as it was read and the attempt to
    /// be new. Of one that is used up it leaves a trace, if it is told when that is.
    pub fn spend(&self, grant: &Grant, claim: &Claim, once: Option<Timestamp>) -> Txn {
        let txn = Txn::new().expect(self.claim_key(), Expect::Absent);
        let txn = claim.put(txn, self.claim_key());
        match grant {
            Grant::Fixed(_) => txn,
            Grant::Stored(_, revision) => {
                let key = layout::token(self.proven.token());
                let txn = txn.expect(key.clone(), Expect::Revision(*revision));
                match once {
                    Some(now) => Trace::spent(claim, now).put(txn.delete(key), self.proven.token()),
                    None => txn,
                }
            }
        }
    }
}

impl Grant {
    /// When it ends.
    pub fn expires(&self) -> Option<Timestamp> {
        match self {
            Self::Stored(token, _) => token.metadata.expires,
            Self::Fixed(_) => None,
        }
    }

    fn method(&self) -> JoinMethod {
        match self {
            Self::Stored(token, _) => token.spec.join_method(),
            Self::Fixed(_) => JoinMethod::Token,
        }
    }

    /// Whether the token belongs to this very process.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Fixed(fixed) if fixed.local)
    }

    fn roles(&self) -> &[SystemRole] {
        match self {
            Self::Stored(token, _) => &token.spec.roles,
            Self::Fixed(fixed) => &fixed.roles,
        }
    }
}
