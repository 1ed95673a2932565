//! A stand-in for the auth service on an administrator's socket: keeps resources in memory, answers the rest with
//! what a test could expect. Only the wire is real.

use api::status::{Class, Problem};
use api::v1::audit_service_server::{AuditService, AuditServiceServer};
use api::v1::bot_service_server::{BotService, BotServiceServer};
use api::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use api::v1::resource_service_server::{ResourceService, ResourceServiceServer};
use api::v1::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

pub const PIN: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const ESCAPES: &str = "\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}";

#[derive(Clone, Default)]
pub struct Fake {
    resources: Arc<Mutex<BTreeMap<(String, String), Value>>>,
    revision: Arc<Mutex<u64>>,
    pub requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Serves on `socket` until the process ends.
    pub fn serve(&self, socket: &Path) {
        let fake = self.clone();
        let listener = std::os::unix::net::UnixListener::bind(socket).expect("bound");
        listener.set_nonblocking(true).expect("a socket");
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::from_std(listener).expect("a listener");
                tonic::transport::Server::builder()
                    .add_service(ResourceServiceServer::new(fake.clone()))
                    .add_service(ClusterServiceServer::new(fake.clone()))
                    .add_service(BotServiceServer::new(fake.clone()))
                    .add_service(AuditServiceServer::new(fake))
                    .serve_with_incoming(UnixListenerStream::new(listener))
                    .await
            })
        });
    }

    fn note(&self, request: impl std::fmt::Debug) {
        self.requests.lock().expect("not poisoned").push(format!("{request:?}"));
    }

    pub fn put(&self, mut value: Value) -> Value {
        let mut revision = self.revision.lock().expect("not poisoned");
        *revision += 1;
        value["metadata"]["revision"] = json!(revision.to_string());
        self.resources.lock().expect("not poisoned").insert(key(&value), value.clone());
        value
    }

    fn find(&self, kind: &str, name: &str) -> Result<Value, Status> {
        let resources = self.resources.lock().expect("not poisoned");
        let found = resources.get(&(kind.to_owned(), name.to_owned())).cloned();
        let hint = format!("create it with tctl create -f{ESCAPES}");
        found.ok_or_else(|| {
            Problem::new(Class::NotFound, "not_found", format!("{kind} {name:?} not found")).hint(hint).into()
        })
    }
}

fn key(value: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    (text(&value["kind"]), text(&value["metadata"]["name"]))
}

#[tonic::async_trait]
impl ResourceService for Fake {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { kind, name, .. } = request.into_inner();
        Ok(Response::new(GetResponse { json: self.find(&kind, &name)?.to_string() }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        // Pages of one, so that clients have to turn them.
        let ListRequest { kind, page_token, .. } = request.into_inner();
        let resources = self.resources.lock().expect("not poisoned");
        let of_kind: Vec<_> =
            resources.iter().filter(|((of, _), _)| *of == kind).map(|(_, value)| value).collect();
        let index: usize = page_token.parse().unwrap_or(0);
        let json = of_kind.get(index).map(ToString::to_string).into_iter().collect();
        let more = index + 1 < of_kind.len();
        let next_page_token = if more { (index + 1).to_string() } else { String::new() };
        Ok(Response::new(ListResponse { json, next_page_token }))
    }

    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<CreateResponse>, Status> {
        let value: Value = serde_json::from_str(&request.into_inner().json).expect("JSON");
        self.note(&value);
        let (kind, name) = key(&value);
        if self.find(&kind, &name).is_ok() {
            return Err(
                Problem::new(Class::Exists, "exists", format!("{kind} {name:?} already exists")).into()
            );
        }
        Ok(Response::new(CreateResponse { json: self.put(value).to_string() }))
    }

    async fn upsert(&self, request: Request<UpsertRequest>) -> Result<Response<UpsertResponse>, Status> {
        let value: Value = serde_json::from_str(&request.into_inner().json).expect("JSON");
        let (kind, name) = key(&value);
        let before = self.find(&kind, &name);
        let wanted = &value["metadata"]["revision"];
        if !wanted.is_null() && before.as_ref().ok().map(|old| &old["metadata"]["revision"]) != Some(wanted) {
            return Err(
                Problem::new(Class::Conflict, "conflict", format!("{kind} {name:?} has changed")).into()
            );
        }
        Ok(Response::new(UpsertResponse { created: before.is_err(), json: self.put(value).to_string() }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let DeleteRequest { kind, name } = request.into_inner();
        self.find(&kind, &name)?;
        self.resources.lock().expect("not poisoned").remove(&(kind, name));
        Ok(Response::new(DeleteResponse::default()))
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;
type Trusts = Pin<Box<dyn Stream<Item = Result<TrustBundle, Status>> + Send>>;

#[tonic::async_trait]
impl ClusterService for Fake {
    type WatchTrustStream = Trusts;

    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingResponse>, Status> {
        Err(Status::unimplemented("ping"))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let authority =
            |kind: &str| AuthorityStatus { kind: kind.to_owned(), rotation: "never updated".to_owned() };
        Ok(Response::new(StatusResponse {
            cluster: "test.example.com".to_owned(),
            version: "0.1.0".to_owned(),
            ca_pins: vec![PIN.to_owned()],
            authorities: ["host", "user", "openssh"].map(authority).to_vec(),
            health: format!("well{ESCAPES}"),
            nodes_online: 1,
            nodes_known: 2,
            proxies_online: 1,
            bot_instances: 0,
            proxy_addrs: vec!["proxy.example.com:3080".to_owned()],
        }))
    }

    async fn trust(&self, _: Request<TrustRequest>) -> Result<Response<TrustBundle>, Status> {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIq//CSwaKrxy2ARhKBSQqMTunhQG4i7Au41cRO6PCz1";
        let authority = |kind: &str| Authority {
            kind: kind.to_owned(),
            ssh_keys: vec![key.to_owned()],
            tls_certificates: Vec::new(),
        };
        let authorities = ["host", "user", "openssh"].map(authority).to_vec();
        Ok(Response::new(TrustBundle { cluster: "test.example.com".to_owned(), authorities, revision: 1 }))
    }

    async fn watch_trust(&self, _: Request<TrustRequest>) -> Result<Response<Trusts>, Status> {
        Err(Status::unimplemented("watch_trust"))
    }

    async fn explain_join(
        &self,
        request: Request<ExplainJoinRequest>,
    ) -> Result<Response<ExplainJoinResponse>, Status> {
        let check = |rule, field: &str, fits| JoinCheck {
            rule,
            field: field.to_owned(),
            wanted: "\"us/app\"".to_owned(),
            found: "\"us/other\"".to_owned(),
            fits,
        };
        Ok(Response::new(ExplainJoinResponse {
            at: "2026-03-01T10:00:00Z".to_owned(),
            code: "join_refused".to_owned(),
            reason: format!("of attempt {}", request.into_inner().attempt),
            method: "id_token".to_owned(),
            token_name: "***".to_owned(),
            role: "Bot".to_owned(),
            remote_addr: "192.0.2.1:9".to_owned(),
            checks: vec![check(0, "ID token", true), check(1, "repository", false)],
        }))
    }

    async fn explain_ssh(
        &self,
        request: Request<ExplainSshRequest>,
    ) -> Result<Response<ExplainSshResponse>, Status> {
        let allowed = request.into_inner().login == "root";
        Ok(Response::new(ExplainSshResponse {
            allowed,
            code: if allowed { "allowed" } else { "login_not_allowed" }.to_owned(),
            reason: "of the roles".to_owned(),
            rule: "role \"access\": allow.logins".to_owned(),
            trace: vec!["labels match".to_owned(), format!("login{ESCAPES}")],
        }))
    }

    async fn list_nodes(&self, _: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        let node = |name: &str, id: &str, env: &str, online: bool| {
            json!({"kind": "node", "version": "v2", "metadata": {"name": id, "labels": {"env": env}},
                "spec": {"hostname": name, "addr": "10.0.0.1:3022", "cmd_labels": {"os": ESCAPES}, "version": "0.1.0"},
                "status": {"online": online}})
            .to_string()
        };
        let json = vec![
            node("web", "11111111-1111-4111-8111-111111111111", "prod", true),
            node("db", "22222222-2222-4222-8222-222222222222", "test", false),
        ];
        Ok(Response::new(ListNodesResponse { json }))
    }
}

#[tonic::async_trait]
impl BotService for Fake {
    async fn create_bot(
        &self,
        request: Request<CreateBotRequest>,
    ) -> Result<Response<CreateBotResponse>, Status> {
        let request = request.into_inner();
        self.note(&request);
        self.put(json!({"kind": "bot", "version": "v1", "metadata": {"name": request.name}, "spec": {"roles": request.roles}}));
        Ok(Response::new(CreateBotResponse {
            user_name: format!("bot-{}", request.name),
            role_name: format!("bot-{}", request.name),
            token: "t0k3n".to_owned(),
            token_ttl_seconds: request.token_ttl_seconds,
        }))
    }

    async fn update_bot(
        &self,
        request: Request<UpdateBotRequest>,
    ) -> Result<Response<UpdateBotResponse>, Status> {
        let request = request.into_inner();
        self.note(&request);
        Ok(Response::new(UpdateBotResponse { json: self.find("bot", &request.name)?.to_string() }))
    }

    async fn delete_bot(
        &self,
        request: Request<DeleteBotRequest>,
    ) -> Result<Response<DeleteBotResponse>, Status> {
        let name = request.into_inner().name;
        self.find("bot", &name)?;
        self.resources.lock().expect("not poisoned").remove(&("bot".to_owned(), name));
        Ok(Response::new(DeleteBotResponse::default()))
    }

    async fn add_instance(
        &self,
        request: Request<AddInstanceRequest>,
    ) -> Result<Response<AddInstanceResponse>, Status> {
        self.find("bot", &request.get_ref().name)?;
        let token_ttl_seconds = request.into_inner().token_ttl_seconds;
        Ok(Response::new(AddInstanceResponse { token: "s3c0nd".to_owned(), token_ttl_seconds }))
    }

    async fn unlock_instance(
        &self,
        _: Request<UnlockInstanceRequest>,
    ) -> Result<Response<UnlockInstanceResponse>, Status> {
        Err(Status::unimplemented("unlock_instance"))
    }

    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        Err(Status::unimplemented("heartbeat"))
    }

    async fn report_hooks(
        &self,
        _: Request<ReportHooksRequest>,
    ) -> Result<Response<ReportHooksResponse>, Status> {
        Err(Status::unimplemented("report_hooks"))
    }
}

fn event(sequence: u64, event: &str) -> Event {
    let time = format!("2026-03-01T10:00:0{sequence}Z");
    let json = json!({"time": time, "code": "T1", "event": event, "user": ESCAPES, "name": "x"}).to_string();
    Event { sequence, json, hash: vec![7; 4] }
}

#[tonic::async_trait]
impl AuditService for Fake {
    type TailStream = Events;

    async fn emit(&self, _: Request<EmitRequest>) -> Result<Response<EmitResponse>, Status> {
        Err(Status::unimplemented("emit"))
    }

    async fn search(&self, request: Request<SearchRequest>) -> Result<Response<SearchResponse>, Status> {
        self.note(request.into_inner());
        Ok(Response::new(SearchResponse { events: vec![event(2, "session.end"), event(1, "session.start")] }))
    }

    async fn tail(&self, _: Request<TailRequest>) -> Result<Response<Events>, Status> {
        let events = tokio_stream::iter([Ok(event(1, "session.start")), Ok(event(2, "session.end"))]);
        Ok(Response::new(Box::pin(events.map(|event| event))))
    }

    async fn verify(&self, _: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let first_broken = u64::from(self.find("role", "broken").is_ok()) * 2;
        Ok(Response::new(VerifyResponse { events: 2, first_broken, head: vec![0xab, 0xcd] }))
    }
}
