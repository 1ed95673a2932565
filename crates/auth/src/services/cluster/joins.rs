//! Why a join was refused, for administrators.

use crate::caller::Caller;
use crate::core::Core;
use crate::services::rights::Rights;
use access::rbac::Verb;
use access::resource::Kind;
use api::status::{Class, Problem};
use api::v1::{ExplainJoinRequest, ExplainJoinResponse};

/// What is known of an attempt that was refused.
pub(super) async fn explain(
    core: &Core,
    caller: &Caller,
    request: &ExplainJoinRequest,
) -> Result<ExplainJoinResponse, Problem> {
    // The answer says what is in tokens.
    Rights::of(&core.catalog, caller).await?.check(Verb::Read, Kind::Token.as_str())?;
    core.attempts.find(&request.attempt, core.now()).ok_or_else(|| {
        let shown: String = request.attempt.chars().take(64).collect();
        let reason = format!("no refused attempt {shown:?} is remembered");
        Problem::new(Class::NotFound, "not_found", reason).hint(
            "they are kept for a day and until auth restarts; the audit log has the reason: tctl events ls",
        )
    })
}
