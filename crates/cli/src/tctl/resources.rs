//! The five verbs of resources as commands use them: JSON in, JSON out, refusals as failures.

use super::refused::Refused;
use crate::Failure;
use access::resource::token::masked;
use access::resource::{Kind, Resource};
use api::v1::resource_service_client::ResourceServiceClient;
use api::v1::{CreateRequest, DeleteRequest, DeleteResponse, GetRequest, ListRequest, UpsertRequest};
use serde_json::Value;
use tonic::transport::Channel;

/// How many resources are asked for at once.
const PAGE: u32 = 500;
/// More pages than any cluster has; a server that goes on for ever is not followed.
const MOST_PAGES: usize = 10_000;

/// A client of the resource service.
pub(super) struct Resources(ResourceServiceClient<Channel>);

impl Resources {
    pub fn new(client: ResourceServiceClient<Channel>) -> Self {
        Self(client)
    }

    /// One resource.
    pub async fn one(&mut self, kind: Kind, name: &str, with_secrets: bool) -> Result<Value, Failure> {
        let request = GetRequest { kind: kind.to_string(), name: name.to_owned(), with_secrets };
        Ok(shown(parsed(&self.0.get(request).await?.into_inner().json)?, with_secrets))
    }

    /// Every resource of a kind.
    pub async fn all(&mut self, kind: Kind, with_secrets: bool) -> Result<Vec<Value>, Failure> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let request = ListRequest { kind: kind.to_string(), with_secrets, page_size: PAGE, page_token };
            let page = self.0.list(request).await?.into_inner();
            for json in &page.json {
                found.push(shown(parsed(json)?, with_secrets));
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
        Err(Failure::new(format!("the list of {kind} resources does not end; the server is at fault")))
    }

    /// Creates; fails when it exists.
    pub async fn create(&mut self, resource: &Resource) -> Result<Value, Failure> {
        let request = CreateRequest { json: resource.to_json().to_string() };
        parsed(&self.0.create(request).await?.into_inner().json)
    }

    /// Creates or replaces; with a revision replaces only that one. Says whether it was created.
    pub async fn upsert(&mut self, resource: &Resource) -> Result<bool, Failure> {
        let request = UpsertRequest { json: resource.to_json().to_string() };
        Ok(self.0.upsert(request).await?.into_inner().created)
    }

    /// Removes. Gives what refuses the certificates of what was removed, where it had any.
    pub async fn delete(&mut self, kind: Kind, name: &str) -> Result<Refused, Failure> {
        let request = DeleteRequest { kind: kind.to_string(), name: name.to_owned() };
        let DeleteResponse { locks, locked_until } = self.0.delete(request).await?.into_inner();
        Ok(Refused { locks, locked_until })
    }
}

/// The name of a token that is a secret is masked by the server unless it is asked for; one that is not is masked here.
fn shown(mut value: Value, with_secrets: bool) -> Value {
    if !with_secrets
        && value["kind"] == Kind::Token.as_str()
        && value["spec"]["join_method"].as_str().unwrap_or("token") == "token"
        && let Some(name) = value["metadata"]["name"].as_str()
        && !name.starts_with('*')
    {
        value["metadata"]["name"] = masked(name).into();
    }
    value
}

fn parsed(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json)
        .map_err(|error| Failure::new(format!("the server sent a resource that is not JSON: {error}")))
}

/// A resource of the server as its type.
pub(super) fn decoded(value: Value) -> Result<Resource, Failure> {
    Resource::from_json(value).map_err(|invalid| {
        Failure::new(format!("the server sent a resource that this tctl does not know: {invalid}"))
            .hint("use the tctl of the server's version")
    })
}
