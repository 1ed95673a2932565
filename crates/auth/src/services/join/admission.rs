//! What both kinds of joiners have in common: a proof, a token, and perhaps an earlier use of it.

use super::Refused;
use crate::caller::Caller;
use crate::catalog::layout;
use crate::core::Core;
use crate::enrol::claim::Claim;
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
#[derive(Debug, Clone, Copy)]
pub enum NoGrant {
    /// There is none of that name.
    Unknown,
    /// There is, and it is not good for this.
    Unfit(&'static str),
    /// The same of one whose name is no secret: who knows it has proved nothing.
    PublicUnfit(&'static str),
}

impl Admission {
    /// A refusal for which the joiner hears what all hear who show what it showed.
    pub fn refused(&self, why: impl Into<String>) -> Refused {
        match self.proof {
            Proof::Name => Refused::token(why),
            Proof::Bound(_) | Proof::Tpm(_) | Proof::Vouched(_) => Refused::proof(self.proven.attempt(), why),
        }
    }

    /// The refusal where a token grants nothing.
    pub fn no_grant(&self, none: NoGrant) -> Refused {
        match none {
            NoGrant::Unknown => Refused::unproven(self.refused("there is no such token")),
            NoGrant::Unfit(why) => self.refused(why),
            NoGrant::PublicUnfit(why) => Refused::unproven(self.refused(why)),
        }
    }

    /// The token of the store that may be spent.
    pub fn stored<'g>(&self, grant: &'g Result<Grant, NoGrant>) -> Result<(&'g Token, Revision), Refused> {
        match grant {
            Ok(Grant::Stored(token, revision)) => Ok((token, *revision)),
            Ok(Grant::Fixed(_)) => Err(self.refused("it is a token of the configuration")),
            Err(none) => Err(self.no_grant(*none)),
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
            (None, None) => Err(NoGrant::Unknown),
        };
        Ok(Standing { grant: grant.and_then(|grant| self.fits(grant, core.now())), claim })
    }

    fn fits(&self, grant: Grant, now: Timestamp) -> Result<Grant, NoGrant> {
        let unfit = match grant.method() {
            JoinMethod::Token => NoGrant::Unfit,
            _ => NoGrant::PublicUnfit,
        };
        if grant.expires().is_some_and(|expires| expires <= now) {
            return Err(unfit("the token has expired"));
        }
        if !grant.allows(self.proven.role()) {
            return Err(unfit("the token is not for this role"));
        }
        match (&self.proof, grant.method()) {
            (Proof::Name, JoinMethod::Token)
            | (Proof::Bound(_), JoinMethod::BoundKeypair)
            | (Proof::Tpm(_), JoinMethod::Tpm) => Ok(grant),
            (Proof::Vouched(voucher), JoinMethod::Oidc(provider)) if voucher.is_of(provider) => Ok(grant),
            _ => Err(unfit("the token is of another join method")),
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
    /// be new.
    pub fn spend(&self, grant: &Grant, claim: &Claim, once: bool) -> Txn {
        let txn = Txn::new().expect(self.claim_key(), Expect::Absent);
        let txn = claim.put(txn, self.claim_key());
        match grant {
            Grant::Fixed(_) => txn,
            Grant::Stored(_, revision) => {
                let key = layout::token(self.proven.token());
                let txn = txn.expect(key.clone(), Expect::Revision(*revision));
                if once { txn.delete(key) } else { txn }
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

    fn allows(&self, role: SystemRole) -> bool {
        match self {
            Self::Stored(token, _) => token.spec.roles.contains(&role),
            Self::Fixed(fixed) => fixed.roles.contains(&role),
        }
    }
}
