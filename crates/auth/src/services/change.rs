//! Changes: decided from what was read, committed only if that still holds, decided again if not.

use super::rights::Rights;
use crate::audit::{Event, kind};
use crate::caller::Caller;
use crate::catalog::{Catalog, Reads};
use api::status::{Class, Problem};
use async_trait::async_trait;
use store::{Revision, Txn};
use tonic::{Response, Status};

/// One change as a caller wants it.
#[async_trait]
pub(super) trait Change: Sync {
    /// What the caller is told.
    type Done: Send;

    /// Decides from what is read now. May be asked several times; whatever it reads beside `reads`, it has to put
    /// under a condition of the transaction.
    async fn decide(
        &self,
        reads: &mut Reads<'_>,
        rights: &Rights,
        caller: &Caller,
    ) -> Result<(Txn, Self::Done), Problem>;
}

/// Makes a change, with the rights that the caller has at the moment of the commit.
pub(super) async fn make<C: Change>(
    catalog: &Catalog,
    caller: &Caller,
    change: &C,
) -> Result<(C::Done, Revision), Problem> {
    let mut reads = Reads::new(catalog);
    loop {
        match attempt(&mut reads, caller, change).await {
            Ok((txn, done)) => {
                if let Some(revision) = reads.commit(txn).await? {
                    return Ok((done, revision));
                }
            }
            Err(_) if reads.try_fresh() => {}
            Err(problem) => return Err(problem),
        }
    }
}

async fn attempt<C: Change>(
    reads: &mut Reads<'_>,
    caller: &Caller,
    change: &C,
) -> Result<(Txn, C::Done), Problem> {
    let rights = Rights::by(reads, caller).await?;
    change.decide(reads, &rights, caller).await
}

/// Puts an answer on the wire. A denial is on record before the caller knows of it, unless he has made too many.
pub(super) async fn answer<T>(
    catalog: &Catalog,
    caller: &Caller,
    method: &'static str,
    result: Result<T, Problem>,
) -> Result<Response<T>, Status> {
    let problem = match result {
        Ok(message) => return Ok(Response::new(message)),
        Err(problem) => problem,
    };
    if problem.class == Class::Denied {
        let event = Event::new(kind::ACCESS_DENIED)
            .with("method", method)
            .with("reason_code", problem.code.as_str())
            .failed(&problem.reason);
        let told = catalog.tell_refusal(caller.spender(), caller.describe(event)).await;
        told.map_err(|error| crate::catalog::problem(&error))?;
    }
    Err(problem.into())
}
