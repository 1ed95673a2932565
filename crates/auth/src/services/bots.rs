//! What bots need beyond plain resources: made together with their token, changed in parts, removed with all that
//! belongs to them, and reporting of themselves.

mod create;
mod heartbeat;
mod hooks;
mod instance;
mod leftover;
mod remove;
#[cfg(test)]
mod tests;
mod unlock;
mod update;

pub(super) use leftover::Leftover;
pub(super) use remove::{remove, without_leftovers};

use super::change::{answer, make};
use super::resources::render;
use super::shelf::Shelf;
use crate::caller::Caller;
use crate::catalog::Catalog;
use crate::pacing::Spending;
use crate::presence::Presence;
use crate::refusal;
use crate::tokens::Tokens;
use access::resource::token::{Method, TokenSpec};
use access::resource::{Resource, Token};
use access::{BotName, Login, RoleName, SystemRole};
use api::status::{Class, Problem};
use api::v1;
use api::v1::bot_service_server::BotService;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// How long a one-time token is good unless the caller says otherwise.
const DEFAULT_TTL: u64 = 3600;
/// The longest life of a one-time token: a forgotten one is a door that stays open.
const MAX_TTL: u64 = 7 * 24 * 3600;

/// The service.
pub struct Bots {
    catalog: Arc<Catalog>,
    tokens: Arc<Tokens>,
    presence: Arc<Presence>,
    /// What agents tell of themselves is written down, and they may tell as much as comes of what they get.
    reports: Spending,
}

impl Bots {
    /// Over the cluster's state.
    pub fn new(catalog: Arc<Catalog>, tokens: Arc<Tokens>, presence: Arc<Presence>) -> Self {
        let reports = Spending::of_reports(catalog.now());
        Self { catalog, tokens, presence, reports }
    }

    fn shelf(&self) -> Shelf<'_> {
        Shelf { catalog: &self.catalog, tokens: &self.tokens }
    }

    async fn create(
        &self,
        caller: &Caller,
        request: &v1::CreateBotRequest,
    ) -> Result<v1::CreateBotResponse, Problem> {
        let change = create::Create::new(self.shelf(), request)?;
        make(&self.catalog, caller, &change).await.map(|(response, _)| response)
    }

    async fn update(
        &self,
        caller: &Caller,
        request: &v1::UpdateBotRequest,
    ) -> Result<v1::UpdateBotResponse, Problem> {
        let change = update::Update::new(self.shelf(), request)?;
        let (mut bot, revision) = make(&self.catalog, caller, &change).await?;
        bot.metadata.revision = Some(revision.to_string());
        Ok(v1::UpdateBotResponse { json: render(&Resource::Bot(bot)) })
    }

    async fn unlock(
        &self,
        caller: &Caller,
        request: &v1::UnlockInstanceRequest,
    ) -> Result<v1::UnlockInstanceResponse, Problem> {
        let change = unlock::Unlock::new(self.shelf(), &request.name)?;
        make(&self.catalog, caller, &change).await.map(|(response, _)| response)
    }

    async fn hooked(&self, caller: &Caller, request: v1::ReportHooksRequest) -> Result<(), Problem> {
        let results = request.results.len();
        let change = hooks::Hooked::new(self.shelf(), request.results)?;
        self.spend(caller, results)?;
        make(&self.catalog, caller, &change).await.map(drop)
    }

    async fn add(
        &self,
        caller: &Caller,
        request: &v1::AddInstanceRequest,
    ) -> Result<v1::AddInstanceResponse, Problem> {
        let change = instance::Add::new(self.shelf(), request)?;
        make(&self.catalog, caller, &change).await?;
        let Token { metadata, .. } = change.token;
        Ok(v1::AddInstanceResponse { token: metadata.name, token_ttl_seconds: change.ttl })
    }

    fn spend(&self, caller: &Caller, amount: usize) -> Result<(), Problem> {
        let Some(who) = caller.spender() else { return Ok(()) };
        let Err((pause, _)) = self.reports.spend(&who, amount, self.catalog.now()) else { return Ok(()) };
        let reason = format!("{} tells more of itself than is written down", caller.name());
        Err(Problem::new(Class::Exhausted, "too_many_reports", reason).again_in(pause))
    }

    async fn report(&self, caller: &Caller, request: &v1::HeartbeatRequest) -> Result<(), Problem> {
        let change = heartbeat::Report::new(self.shelf(), &request.json)?;
        self.spend(caller, 1)?;
        make(&self.catalog, caller, &change).await.map(drop)
    }
}

fn bot_name(name: &str) -> Result<BotName, Problem> {
    BotName::new(name).map_err(|error| refusal::invalid(error.to_string()))
}

/// Each role once, in the order given.
fn role_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<Vec<RoleName>, Problem> {
    let mut roles = Vec::new();
    for name in names {
        let role = RoleName::new(name.as_str()).map_err(|error| refusal::invalid(error.to_string()))?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}

/// Each login once, in the order given.
fn login_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<Vec<String>, Problem> {
    let mut logins = Vec::new();
    for name in names {
        Login::new(name.as_str()).map_err(|error| refusal::invalid(error.to_string()))?;
        if !logins.contains(name) {
            logins.push(name.clone());
        }
    }
    Ok(logins)
}

/// A token for one instance of a bot, and its life in seconds.
fn one_time_token(bot: &BotName, ttl: u64, now: Timestamp) -> Result<(Token, u64), Problem> {
    let ttl = if ttl == 0 { DEFAULT_TTL } else { ttl };
    if ttl > MAX_TTL {
        return Err(refusal::invalid(format!("a one-time token lives {MAX_TTL} seconds at most, not {ttl}")));
    }
    let life = SignedDuration::from_secs(i64::try_from(ttl).unwrap_or(i64::MAX));
    let expires = now.checked_add(life).map_err(|error| refusal::invalid(error.to_string()))?;
    let name = Tokens::random_name().map_err(|error| refusal::internal("there is no randomness", error))?;
    let spec = TokenSpec { roles: vec![SystemRole::Bot], method: Method::Token, bot_name: Some(bot.clone()) };
    Ok((Tokens::token(name, spec, Some(expires)), ttl))
}

/// The bounds that hold for every resource hold for one that was put together here too.
fn within_bounds(resource: &Resource) -> Result<(), Problem> {
    Resource::from_json(resource.to_json()).map(drop).map_err(|error| refusal::invalid(error.to_string()))
}

#[tonic::async_trait]
impl BotService for Bots {
    async fn create_bot(
        &self,
        request: Request<v1::CreateBotRequest>,
    ) -> Result<Response<v1::CreateBotResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let result = self.create(&caller, &request.into_inner()).await;
        answer(&self.catalog, &caller, "/postern.v1.BotService/CreateBot", result).await
    }

    async fn update_bot(
        &self,
        request: Request<v1::UpdateBotRequest>,
    ) -> Result<Response<v1::UpdateBotResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let result = self.update(&caller, &request.into_inner()).await;
        answer(&self.catalog, &caller, "/postern.v1.BotService/UpdateBot", result).await
    }

    async fn delete_bot(
        &self,
        request: Request<v1::DeleteBotRequest>,
    ) -> Result<Response<v1::DeleteBotResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let removed = remove(self.shelf(), &self.presence, &caller, &request.into_inner().name).await;
        let result = removed.map(|left| {
            let locked_until = left.told_until();
            v1::DeleteBotResponse { locks: left.locks, locked_until }
        });
        answer(&self.catalog, &caller, "/postern.v1.BotService/DeleteBot", result).await
    }

    async fn add_instance(
        &self,
        request: Request<v1::AddInstanceRequest>,
    ) -> Result<Response<v1::AddInstanceResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let result = self.add(&caller, &request.into_inner()).await;
        answer(&self.catalog, &caller, "/postern.v1.BotService/AddInstance", result).await
    }

    async fn unlock_instance(
        &self,
        request: Request<v1::UnlockInstanceRequest>,
    ) -> Result<Response<v1::UnlockInstanceResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let result = self.unlock(&caller, &request.into_inner()).await;
        answer(&self.catalog, &caller, "/postern.v1.BotService/UnlockInstance", result).await
    }

    async fn report_hooks(
        &self,
        request: Request<v1::ReportHooksRequest>,
    ) -> Result<Response<v1::ReportHooksResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let taken = self.hooked(&caller, request.into_inner()).await;
        let result = taken.map(|()| v1::ReportHooksResponse {});
        answer(&self.catalog, &caller, "/postern.v1.BotService/ReportHooks", result).await
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let taken = self.report(&caller, &request.into_inner()).await;
        let result = taken.map(|()| v1::HeartbeatResponse {});
        answer(&self.catalog, &caller, "/postern.v1.BotService/Heartbeat", result).await
    }
}
