//! Why somebody may or may not log in somewhere, for administrators.

use super::nodes;
use crate::caller::Caller;
use crate::catalog::{Reads, RolesOf};
use crate::core::Core;
use crate::refusal;
use crate::services::rights::Rights;
use access::rbac::lock::{LockSubject, in_force};
use access::rbac::ssh::{Explanation, KeyExchange, Request, SessionDefaults, Step, explain as explain_ssh};
use access::rbac::{Denial, RuleRef, Verb};
use access::resource::{Kind, Lock, Node};
use access::{BotName, Login, RoleName, Traits, UserName};
use api::status::Problem;
use api::v1::{ExplainSshRequest, ExplainSshResponse};

/// Whom to decide about.
struct Subject {
    user: UserName,
    roles: Vec<RoleName>,
    traits: Traits,
}

/// Decides one login as the node would, and says why.
pub(super) async fn explain(
    core: &Core,
    caller: &Caller,
    request: &ExplainSshRequest,
) -> Result<ExplainSshResponse, Problem> {
    // The answer says what is in roles.
    Rights::of(&core.catalog, caller).await?.check(Verb::Read, Kind::Role.as_str())?;
    let ExplainSshRequest { subject, login, node } = request;
    let login = Login::new(login.as_str()).map_err(|error| refusal::invalid(format!("login: {error}")))?;
    let node = nodes::find(core, node).await?;
    let mut reads = Reads::new(&core.catalog);
    let (subject, roles) = loop {
        match resolve(&mut reads, subject).await {
            Err(_) if reads.try_fresh() => {}
            resolved => break resolved?,
        }
    };
    let roles = match roles {
        Ok(roles) => roles,
        Err(problem) => return Ok(unresolved(&problem)),
    };
    let defaults = SessionDefaults::new(&reads.auth_preference(), &reads.networking());
    let labels = node.labels();
    // There is no connection yet; what it has to be like is said in the answer.
    let key_exchange = KeyExchange::PostQuantum;
    let request = Request { login: login.as_str(), labels: &labels, key_exchange, defaults };
    let explanation = explain_ssh(&roles.set, &request);
    Ok(answer(&explanation, locked(core, &subject, &login, &node).as_ref()))
}

/// The subject and its roles; the inner error is a role that is missing, which is an answer too.
async fn resolve(
    reads: &mut Reads<'_>,
    written: &str,
) -> Result<(Subject, Result<RolesOf, Problem>), Problem> {
    let wrong = || refusal::invalid("the subject is written bot/NAME or user/NAME");
    let subject = match written.split_once('/').ok_or_else(wrong)? {
        ("bot", name) => {
            let bot = BotName::new(name).map_err(|error| refusal::invalid(error.to_string()))?;
            let found = reads.bot(&bot).await?.ok_or_else(|| refusal::not_found(Kind::Bot, name))?;
            let user = access::bot::user_of(&found).name;
            Subject { user, roles: found.roles.clone(), traits: found.traits.clone() }
        }
        ("user", name) => {
            let user = UserName::new(name).map_err(|error| refusal::invalid(error.to_string()))?;
            let found = reads.user(&user).await?.ok_or_else(|| refusal::not_found(Kind::User, name))?;
            Subject { user, roles: found.spec.roles.clone(), traits: found.spec.traits.clone() }
        }
        _ => return Err(wrong()),
    };
    let roles = match reads.roles_of(&subject.user, &subject.roles, &subject.traits).await {
        Err(problem) if problem.code != "role_not_found" => return Err(problem),
        roles => roles,
    };
    Ok((subject, roles))
}

fn locked(core: &Core, subject: &Subject, login: &Login, node: &Node) -> Option<Lock> {
    let whom = LockSubject {
        user: Some(&subject.user),
        roles: &subject.roles,
        login: Some(login),
        server_id: Some(node.id),
        bot_instance_id: None,
        join_token: None,
    };
    let view = core.catalog.view();
    let hit = in_force(view.locks.values().map(|found| &*found.value), &whom, core.now());
    hit.cloned()
}

/// Locks come first, as they do at the node.
fn answer(explanation: &Explanation, lock: Option<&Lock>) -> ExplainSshResponse {
    let lock_step =
        lock.map(|lock| format!("lock {:?}: refuses ({})", lock.metadata.name, lock.denial_text()));
    let steps = explanation.steps.iter().map(Step::to_string);
    let mut trace: Vec<String> = lock_step.into_iter().chain(steps).collect();
    let logins: Vec<&str> = explanation.allowed_logins.iter().map(Login::as_str).collect();
    trace.push(match logins.is_empty() {
        true => "no login reaches the node".to_owned(),
        false => format!("logins that reach the node: {}", logins.join(", ")),
    });
    if let Some(by) = &explanation.post_quantum {
        trace.push(format!("the connection needs a post-quantum key exchange ({by})"));
    }
    let denial = lock.map(Denial::from);
    match denial.as_ref().or(explanation.decision.as_ref().err()) {
        Some(denial) => ExplainSshResponse {
            allowed: false,
            code: denial.code.to_string(),
            reason: denial.reason.clone(),
            rule: denial.rule.as_ref().map(RuleRef::to_string).unwrap_or_default(),
            trace,
        },
        None => {
            let granted = explanation.decision.as_ref().map(|permit| permit.granted_by()).unwrap_or_default();
            let granted: Vec<String> =
                granted.iter().map(|role| format!("role {:?}", role.as_str())).collect();
            ExplainSshResponse {
                allowed: true,
                code: "allowed".to_owned(),
                reason: format!("granted by {}", granted.join(", ")),
                rule: String::new(),
                trace,
            }
        }
    }
}

fn unresolved(problem: &Problem) -> ExplainSshResponse {
    ExplainSshResponse {
        allowed: false,
        code: problem.code.clone(),
        reason: problem.to_string(),
        rule: String::new(),
        trace: Vec::new(),
    }
}
