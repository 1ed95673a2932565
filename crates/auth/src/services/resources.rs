//! Resources over RPC: every kind through the same five verbs, each asked of RBAC for each resource.

mod authorities;
mod binding;
mod event;
mod look;
mod put;
mod remove;
mod render;
mod rules;
#[cfg(test)]
mod tests;

pub use authorities::Authorities;
pub(super) use event::{Action, event};
pub(super) use render::render;
pub(super) use rules::{known_roles, unused_by_bots};

use super::bots::Leftover;
use super::change::{answer, make};
use super::shelf::Shelf;
use crate::caller::Caller;
use crate::catalog::Catalog;
use crate::presence::Presence;
use crate::refusal;
use crate::tokens::Tokens;
use access::resource::{Kind, Resource};
use api::status::{Class, Problem};
use api::v1;
use api::v1::resource_service_server::ResourceService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The longest resource as text.
const MAX_JSON: usize = 256 * 1024;

/// The service.
pub struct Resources {
    catalog: Arc<Catalog>,
    tokens: Arc<Tokens>,
    authorities: Arc<dyn Authorities>,
    presence: Arc<Presence>,
}

impl Resources {
    /// Over the cluster's state.
    pub fn new(
        catalog: Arc<Catalog>,
        tokens: Arc<Tokens>,
        authorities: Arc<dyn Authorities>,
        presence: Arc<Presence>,
    ) -> Self {
        Self { catalog, tokens, authorities, presence }
    }

    fn shelf(&self) -> Shelf<'_> {
        Shelf { catalog: &self.catalog, tokens: &self.tokens }
    }

    async fn write(&self, caller: &Caller, json: &str, mode: put::Mode) -> Result<(String, bool), Problem> {
        let wanted = decode(json)?;
        put::refuse_unwritable(wanted.kind())?;
        let change = put::Put { shelf: self.shelf(), wanted: &wanted, mode };
        let ((created, mut written), revision) = make(&self.catalog, caller, &change).await?;
        written.metadata_mut().revision = Some(revision.to_string());
        Ok((render(&written), created))
    }

    async fn delete_named(&self, caller: &Caller, kind: &str, name: &str) -> Result<Leftover, Problem> {
        let kind = parse_kind(kind)?;
        if kind == Kind::Bot {
            return super::bots::remove(self.shelf(), &self.presence, caller, name).await;
        }
        let left = remove::remove(self.shelf(), caller, kind, name).await?;
        if let (Kind::Node, Ok(id)) = (kind, name.parse()) {
            self.presence.cut(id);
        }
        Ok(left)
    }
}

/// Whoever sends no name for a lock gets one.
fn decode(json: &str) -> Result<Resource, Problem> {
    let wrong = |reason: String| Problem::new(Class::Invalid, "resource_invalid", reason);
    if json.len() > MAX_JSON {
        return Err(wrong(format!("{} bytes; a resource has {MAX_JSON} at most", json.len())));
    }
    let mut value: serde_json::Value =
        serde_json::from_str(json).map_err(|error| wrong(format!("this is no JSON: {error}")))?;
    if value.get("kind").is_some_and(|kind| kind == Kind::Lock.as_str())
        && value.pointer("/metadata/name").is_none_or(|name| name == "")
        && let Some(top) = value.as_object_mut()
    {
        let metadata = top.entry("metadata").or_insert_with(|| serde_json::json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("name".to_owned(), uuid::Uuid::new_v4().to_string().into());
        }
    }
    Resource::from_json(value).map_err(|invalid| wrong(invalid.to_string()))
}

fn parse_kind(kind: &str) -> Result<Kind, Problem> {
    kind.parse().map_err(|error: access::resource::kind::UnknownKind| refusal::invalid(error.to_string()))
}

#[tonic::async_trait]
impl ResourceService for Resources {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let result = self.look(&caller, &request.into_inner()).await.map(|json| v1::GetResponse { json });
        answer(&self.catalog, &caller, "/postern.v1.ResourceService/Get", result).await
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let result = self.list_page(&caller, &request.into_inner()).await;
        answer(&self.catalog, &caller, "/postern.v1.ResourceService/List", result).await
    }

    async fn create(
        &self,
        request: Request<v1::CreateRequest>,
    ) -> Result<Response<v1::CreateResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let written = self.write(&caller, &request.into_inner().json, put::Mode::Create).await;
        let result = written.map(|(json, _)| v1::CreateResponse { json });
        answer(&self.catalog, &caller, "/postern.v1.ResourceService/Create", result).await
    }

    async fn upsert(
        &self,
        request: Request<v1::UpsertRequest>,
    ) -> Result<Response<v1::UpsertResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let written = self.write(&caller, &request.into_inner().json, put::Mode::Upsert).await;
        let result = written.map(|(json, created)| v1::UpsertResponse { json, created });
        answer(&self.catalog, &caller, "/postern.v1.ResourceService/Upsert", result).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let v1::DeleteRequest { kind, name } = request.into_inner();
        let result = self.delete_named(&caller, &kind, &name).await.map(|left| {
            let locked_until = left.told_until();
            v1::DeleteResponse { locks: left.locks, locked_until }
        });
        answer(&self.catalog, &caller, "/postern.v1.ResourceService/Delete", result).await
    }
}
