//! The audit log over RPC: hosts report, auditors read.

mod follow;

use super::rights::Rights;
use crate::audit::{Report, ReportError, StoredEvent};
use crate::caller::{Caller, Who};
use crate::catalog::{self, Catalog};
use crate::enrol::host::refuse_removed;
use crate::refusal;
use access::rbac::Verb;
use api::status::{Class, Problem};
use api::v1;
use api::v1::audit_service_server::AuditService;
use jiff::Timestamp;
use std::sync::Arc;
use store::{Direction, EventFilter, Seq, Verification};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// As rules name it.
const KIND: &str = "event";

/// The service.
pub struct Audit {
    catalog: Arc<Catalog>,
    shutdown: CancellationToken,
}

impl Audit {
    /// Over the catalog's log; its streams end with `shutdown`.
    pub fn new(catalog: Arc<Catalog>, shutdown: CancellationToken) -> Self {
        Self { catalog, shutdown }
    }

    /// Keeps what a host reports, under the id in its certificate.
    pub async fn take(&self, caller: &Caller, request: v1::EmitRequest) -> Result<(), Problem> {
        let Who::Host(host) = &caller.who else {
            let reason = format!("{} is not a host and cannot report events", caller.name());
            return Err(Problem::new(Class::Denied, "wrong_role", reason));
        };
        refuse_removed(&self.catalog, host).await?;
        let v1::EmitRequest { json, ids } = request;
        if json.len() != ids.len() {
            let reason = format!("{} events came with {} ids; each needs one", json.len(), ids.len());
            return Err(refusal::invalid(reason));
        }
        let reports = ids.into_iter().zip(json).map(|(id, json)| Report { id, json }).collect();
        let taken = self.catalog.audit.take_reports(&host.id.to_string(), reports).await;
        taken.map_err(|error| match error {
            ReportError::Store(error) => catalog::problem(&error),
            error => Problem::new(Class::Invalid, "report_refused", error.to_string()),
        })
    }

    /// Finds events.
    pub async fn find(
        &self,
        caller: &Caller,
        request: &v1::SearchRequest,
    ) -> Result<Vec<v1::Event>, Problem> {
        self.may_read(caller).await?;
        let found = self.catalog.audit.search(filter(request)?).await;
        let found = found.map_err(|error| catalog::problem(&error))?;
        Ok(found.into_iter().map(message).collect())
    }

    /// Walks the chain.
    pub async fn walk(&self, caller: &Caller) -> Result<v1::VerifyResponse, Problem> {
        self.may_read(caller).await?;
        let audit = &self.catalog.audit;
        let walked = audit.verify().await.map_err(|error| catalog::problem(&error))?;
        Ok(match walked {
            Verification::Intact(head) => v1::VerifyResponse {
                events: number(head.seq),
                first_broken: 0,
                head: head.hash.as_bytes().to_vec(),
            },
            Verification::Broken(at) => {
                let head = audit.head().await.map_err(|error| catalog::problem(&error))?;
                tracing::error!(event = %at, "the audit log is not as it was written");
                v1::VerifyResponse {
                    events: number(head.seq),
                    first_broken: number(at),
                    head: head.hash.as_bytes().to_vec(),
                }
            }
        })
    }

    async fn may_read(&self, caller: &Caller) -> Result<(), Problem> {
        may_read(&self.catalog, caller).await
    }
}

/// Whoever sees events sees what they say.
async fn may_read(catalog: &Catalog, caller: &Caller) -> Result<(), Problem> {
    let rights = Rights::of(catalog, caller).await?;
    rights.check(Verb::List, KIND)?;
    rights.check(Verb::Read, KIND)
}

#[async_trait::async_trait]
impl AuditService for Audit {
    async fn emit(&self, request: Request<v1::EmitRequest>) -> Result<Response<v1::EmitResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        self.take(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::EmitResponse {}))
    }

    async fn search(
        &self,
        request: Request<v1::SearchRequest>,
    ) -> Result<Response<v1::SearchResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        let events = self.find(&caller, request.get_ref()).await?;
        Ok(Response::new(v1::SearchResponse { events }))
    }

    type TailStream = ReceiverStream<Result<v1::Event, Status>>;

    async fn tail(&self, request: Request<v1::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let caller = Caller::of_request(&request)?;
        Ok(Response::new(self.follow(caller, request.get_ref().after).await?))
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        let caller = Caller::of_request(&request)?;
        Ok(Response::new(self.walk(&caller).await?))
    }
}

fn filter(request: &v1::SearchRequest) -> Result<EventFilter, Problem> {
    let v1::SearchRequest { from, to, events, after, limit, newest_first } = request;
    Ok(EventFilter {
        from: time("from", from)?,
        to: time("to", to)?,
        names: events.clone(),
        after: (*after > 0).then(|| place(*after)).transpose()?,
        limit: usize::try_from(*limit).unwrap_or(usize::MAX),
        direction: if *newest_first { Direction::Descending } else { Direction::Ascending },
    })
}

fn time(field: &str, text: &str) -> Result<Option<Timestamp>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| {
        let shown: String = text.chars().take(64).collect();
        refusal::invalid(format!("{field}: {shown:?} is not a time; write it like 2030-01-31T12:00:00Z"))
    };
    text.parse().map(Some).map_err(wrong)
}

fn place(number: u64) -> Result<Seq, Problem> {
    let number = i64::try_from(number);
    number.map(Seq::new).map_err(|_| refusal::invalid("no event has such a number"))
}

fn number(seq: Seq) -> u64 {
    u64::try_from(seq.number()).unwrap_or(0)
}

fn message(event: StoredEvent) -> v1::Event {
    v1::Event { sequence: number(event.seq), json: event.json, hash: event.hash.as_bytes().to_vec() }
}
