//! The calls of the Workload API (SPIFFE Workload API, sections 4 to 6). A caller who is no workload of ours hears the same as
//! one for whom there is nothing yet.

use super::Holding;
use super::jwts::Jwts;
use crate::agent::workload::Held;
use crate::config::Svid;
use access::ClusterName;
use access::spiffe::trust_domain_id;
use api::spiffe::spiffe_workload_api_server::SpiffeWorkloadApi;
use api::spiffe::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svid, X509svidRequest,
    X509svidResponse,
};
use jiff::Timestamp;
use join::oidc::{Jwks, verify_svid};
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use transport::rpc::UnixPeer;

/// Shown by every caller, so that nothing else can be made to call (SPIFFE Workload Endpoint, section 6.2).
const HEADER: &str = "workload.spiffe.io";

pub(super) struct Workloads {
    pub(super) holding: watch::Receiver<Option<Arc<Holding>>>,
    pub(super) jwts: Arc<Jwts>,
}

/// The process that calls, if it calls as a workload does.
fn caller<T>(request: &Request<T>) -> Result<UnixPeer, Status> {
    let shown = request.metadata().get(HEADER).and_then(|value| value.to_str().ok());
    if shown != Some("true") {
        return Err(Status::invalid_argument("the metadata workload.spiffe.io: true is missing"));
    }
    request.extensions().get::<UnixPeer>().copied().ok_or_else(|| Status::internal("the caller is unknown"))
}

fn nobody() -> Status {
    Status::permission_denied("no identity issued")
}

/// The workloads that a process is.
fn of<'a>(holding: &'a Holding, peer: &UnixPeer) -> Vec<(&'a Svid, &'a Held)> {
    let all = holding.api.svids.iter().zip(&*holding.held);
    all.filter(|(served, _)| served.is(peer)).map(|(served, held)| (&served.svid, held)).collect()
}

type Stream<T> = ReceiverStream<Result<T, Status>>;

impl Workloads {
    fn holding(&self) -> Result<Arc<Holding>, Status> {
        self.holding.borrow().clone().ok_or_else(nobody)
    }

    /// What `render` makes of what is held, now and whenever it changes. Whoever does not read holds up nobody: only the
    /// newest waits.
    fn follow<T: Send + 'static>(
        &self,
        peer: UnixPeer,
        render: fn(&Holding, &UnixPeer) -> Result<T, Status>,
    ) -> Response<Stream<T>> {
        let (out, stream) = mpsc::channel(1);
        let mut holding = self.holding.clone();
        holding.mark_changed();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = out.closed() => return,
                    changed = holding.changed() => if changed.is_err() { return },
                }
                let held = holding.borrow_and_update().clone();
                let rendered = held.ok_or_else(nobody).and_then(|held| render(&held, &peer));
                let ended = rendered.is_err();
                if out.send(rendered).await.is_err() || ended {
                    return;
                }
            }
        });
        Response::new(ReceiverStream::new(stream))
    }
}

fn x509_svids(holding: &Holding, peer: &UnixPeer) -> Result<X509svidResponse, Status> {
    let bundle = x509_bundle(holding);
    let svid = |(svid, held): (&Svid, &Held)| {
        let key = held.key.pkcs8_der().map_err(|_| Status::internal("the key cannot be encoded"))?;
        Ok(X509svid {
            spiffe_id: held.id.clone(),
            x509_svid: held.chain.iter().flat_map(|der| der.iter().copied()).collect(),
            x509_svid_key: key.to_vec(),
            bundle: bundle.clone(),
            hint: svid.hint.clone(),
        })
    };
    let svids: Vec<X509svid> = of(holding, peer).into_iter().map(svid).collect::<Result<_, Status>>()?;
    match svids.is_empty() {
        true => Err(nobody()),
        false => Ok(X509svidResponse { svids, crl: vec![], federated_bundles: HashMap::new() }),
    }
}

fn x509_bundle(holding: &Holding) -> Vec<u8> {
    holding.trust.x509.iter().flat_map(|der| der.iter().copied()).collect()
}

fn under(domain: &ClusterName, bundle: Vec<u8>) -> HashMap<String, Vec<u8>> {
    HashMap::from([(trust_domain_id(domain), bundle)])
}

fn x509_bundles(holding: &Holding, peer: &UnixPeer) -> Result<X509BundlesResponse, Status> {
    match of(holding, peer).is_empty() {
        true => Err(nobody()),
        false => {
            let bundles = under(&holding.trust.cluster, x509_bundle(holding));
            Ok(X509BundlesResponse { crl: vec![], bundles })
        }
    }
}

fn jwt_bundles(holding: &Holding, peer: &UnixPeer) -> Result<JwtBundlesResponse, Status> {
    match of(holding, peer).is_empty() {
        true => Err(nobody()),
        false => {
            let bundle = holding.trust.jwt_bundle().to_string().into_bytes();
            Ok(JwtBundlesResponse { bundles: under(&holding.trust.cluster, bundle) })
        }
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Workloads {
    type FetchX509SVIDStream = Stream<X509svidResponse>;
    type FetchX509BundlesStream = Stream<X509BundlesResponse>;
    type FetchJWTBundlesStream = Stream<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        Ok(self.follow(caller(&request)?, x509_svids))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Ok(self.follow(caller(&request)?, x509_bundles))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        Ok(self.follow(caller(&request)?, jwt_bundles))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let peer = caller(&request)?;
        let JwtsvidRequest { audience, spiffe_id } = request.into_inner();
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(Status::invalid_argument("an audience must be given, and none may be empty"));
        }
        let holding = self.holding()?;
        let mut own = of(&holding, &peer);
        own.retain(|(_, held)| spiffe_id.is_empty() || held.id == spiffe_id);
        if own.is_empty() {
            return Err(nobody());
        }
        let svids: Vec<&Svid> = own.iter().map(|(svid, _)| *svid).collect();
        let issued = self.jwts.fetch(peer.uid, &holding, &svids, &audience).await?;
        let hinted = issued.into_iter().zip(svids).map(|(issued, svid)| Jwtsvid {
            spiffe_id: issued.spiffe_id,
            svid: issued.token,
            hint: svid.hint.clone(),
        });
        Ok(Response::new(JwtsvidResponse { svids: hinted.collect() }))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let peer = caller(&request)?;
        let holding = self.holding()?;
        if of(&holding, &peer).is_empty() {
            return Err(nobody());
        }
        let ValidateJwtsvidRequest { audience, svid } = request.into_inner();
        if audience.is_empty() || svid.is_empty() {
            return Err(Status::invalid_argument("an audience and a JWT-SVID must be given"));
        }
        let keys = Jwks::parse(holding.trust.jwks().to_string().as_bytes());
        let keys = keys.map_err(|error| Status::internal(error.to_string()))?;
        let verified = verify_svid(&svid, &keys, &holding.trust.cluster, &audience, Timestamp::now());
        let (id, claims) = verified.map_err(|refusal| Status::invalid_argument(refusal.to_string()))?;
        let fields = claims.into_iter().map(|(name, value)| (name, proto(value))).collect();
        let claims = Some(Struct { fields });
        Ok(Response::new(ValidateJwtsvidResponse { spiffe_id: id.to_string(), claims }))
    }
}

/// Recursion ends where that of the JSON parser did.
fn proto(value: serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.into_iter().map(proto).collect() })
        }
        serde_json::Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, proto(value))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    Value { kind: Some(kind) }
}
