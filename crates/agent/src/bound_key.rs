//! The key that a host keeps for method `bound_keypair`, with the join state that goes with it: in one file, because
//! whoever has lost one of them has lost both.

use api::v1;
use aws_lc_rs::rand::SystemRandom;
use identity::key::{KeyError, SubjectKey};
use join::bound_keypair::{Showing, prove};
use join::{Claim, TokenHash};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::StartError;
use crate::state::{StateDir, StateError};

const FILE: &str = "bound-key";

/// A key that is bound to a token, or is to be.
#[derive(Clone)]
pub(crate) struct BoundKey {
    key: SubjectKey,
    /// As auth gave it with the last answer; empty before the first.
    state: Vec<u8>,
    /// Hash of the token that gave it.
    token: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// PKCS#8 PEM.
    key: String,
    #[serde(default)]
    join_state: String,
    #[serde(default)]
    token: String,
}

impl BoundKey {
    pub(crate) fn new(key: SubjectKey, state: Vec<u8>, token: &str) -> Self {
        Self { key, state, token: TokenHash::of(token).to_string() }
    }

    /// The one that is kept, or a new one, which is kept before it is bound. One that cannot be read is not replaced:
    /// nobody else comes back.
    pub(crate) fn of(state: &StateDir, token: &str) -> Result<Self, StartError> {
        let path = state.path(FILE);
        let wrong = |reason: String| {
            let next = "; restore the file, or remove it and make the token again";
            StateError::new(&path, reason + next)
        };
        let Some(content) = state.read(FILE)?.map(Zeroizing::new) else {
            let made = Self::new(SubjectKey::generate(&SystemRandom::new())?, vec![], token);
            made.keep(state)?;
            return Ok(made);
        };
        let kept: Kept = serde_json::from_slice(&content).map_err(|error| wrong(error.to_string()))?;
        let key =
            SubjectKey::from_pem(&Zeroizing::new(kept.key)).map_err(|error| wrong(error.to_string()))?;
        let join_state = hex::decode(&kept.join_state).map_err(|error| wrong(error.to_string()))?;
        // A join state belongs to the token that gave it.
        let same = kept.token == TokenHash::of(token).to_string();
        Ok(Self::new(key, if same { join_state } else { vec![] }, token))
    }

    pub(crate) fn keep(&self, state: &StateDir) -> Result<(), StartError> {
        let (join_state, token) = (hex::encode(&self.state), self.token.clone());
        let kept = Kept { key: self.key.to_pem()?.to_string(), join_state, token };
        let content = Zeroizing::new(serde_json::to_vec(&kept).unwrap_or_default());
        Ok(state.write(FILE, &content)?)
    }

    pub(crate) fn key(&self) -> &SubjectKey {
        &self.key
    }

    /// What is shown of it for this claim, with the key that is offered in its place.
    pub(crate) fn shown(
        &self,
        claim: &Claim<'_>,
        secret: &str,
        next: &SubjectKey,
    ) -> Result<v1::BoundKeypair, KeyError> {
        let (public_key, next_public_key) = (self.key.spki_der(), next.spki_der());
        let showing = Showing {
            public_key: &public_key,
            join_state: &self.state,
            registration_secret: secret,
            next_public_key: &next_public_key,
        };
        let statement = prove(claim, &showing);
        let (signature, next_signature) = (self.key.sign(&statement)?, next.sign(&statement)?);
        Ok(v1::BoundKeypair {
            signature,
            join_state: self.state.clone(),
            registration_secret: secret.to_owned(),
            next_signature,
            public_key,
            next_public_key,
        })
    }
}
