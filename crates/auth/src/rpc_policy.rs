//! Who may call which method: one table, and the default is no.
//!
//! The table says who may knock. What exactly a caller may do to which resource is decided in the services, by
//! `access::rbac::api`; whether its instance, host or user may go on is checked there again, against the store.

use crate::audit::{Event, kind};
use crate::caller::{Caller, Who};
use crate::catalog::Catalog;
use access::SystemRole;
use access::rbac::lock::in_force;
use api::status::{Class, Problem};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use tonic::Status;
use tonic::service::Routes;
use transport::rpc::Dismissed;
use transport::{PassedOnBy, Peer};

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Strangers too.
    Anyone,
    /// Hosts with one of these roles.
    Hosts(&'static [SystemRole]),
    /// The own identity of a bot, not its outputs.
    Bot,
    /// Who has an identity of its own by joining: a bot, not its outputs, a proxy or a node.
    Joined,
    /// Users, bots and their outputs, and the local administrator.
    Users,
    /// Whoever is enrolled: users, bots, hosts, and the local administrator.
    Members,
    /// As [`Allow::Users`]; the service asks RBAC for each resource it touches.
    Rbac,
}

use SystemRole::{Auth, Node, Proxy};

const RENEW_BOT: &str = "/postern.v1.CertificateService/RenewBot";

/// Every method of every service. A test holds this against the compiled `.proto` files.
const TABLE: &[(&str, Allow)] = &[
    ("/postern.v1.JoinService/Challenge", Allow::Anyone),
    ("/postern.v1.JoinService/Join", Allow::Anyone),
    ("/postern.v1.JoinService/TpmChallenge", Allow::Anyone),
    (RENEW_BOT, Allow::Bot),
    ("/postern.v1.CertificateService/ConfirmRenewal", Allow::Joined),
    ("/postern.v1.CertificateService/IssueOutputs", Allow::Bot),
    ("/postern.v1.CertificateService/RenewHost", Allow::Hosts(&[Proxy, Node])),
    ("/postern.v1.CertificateService/SignUser", Allow::Rbac),
    ("/postern.v1.WorkloadService/Trust", Allow::Members),
    ("/postern.v1.ResourceService/Get", Allow::Rbac),
    ("/postern.v1.ResourceService/List", Allow::Rbac),
    ("/postern.v1.ResourceService/Create", Allow::Rbac),
    ("/postern.v1.ResourceService/Upsert", Allow::Rbac),
    ("/postern.v1.ResourceService/Delete", Allow::Rbac),
    ("/postern.v1.BotService/CreateBot", Allow::Rbac),
    ("/postern.v1.BotService/UpdateBot", Allow::Rbac),
    ("/postern.v1.BotService/DeleteBot", Allow::Rbac),
    ("/postern.v1.BotService/AddInstance", Allow::Rbac),
    ("/postern.v1.BotService/UnlockInstance", Allow::Rbac),
    ("/postern.v1.BotService/ReportHooks", Allow::Bot),
    ("/postern.v1.BotService/Heartbeat", Allow::Bot),
    ("/postern.v1.InventoryService/Connect", Allow::Hosts(&[Proxy, Node])),
    ("/postern.v1.InventoryService/ConnectSshServer", Allow::Bot),
    ("/postern.v1.AuditService/Emit", Allow::Hosts(&[Proxy, Node, Auth])),
    ("/postern.v1.AuditService/Search", Allow::Rbac),
    ("/postern.v1.AuditService/Tail", Allow::Rbac),
    ("/postern.v1.AuditService/Verify", Allow::Rbac),
    ("/postern.v1.ClusterService/Ping", Allow::Members),
    ("/postern.v1.ClusterService/Status", Allow::Users),
    ("/postern.v1.ClusterService/Trust", Allow::Members),
    ("/postern.v1.ClusterService/WatchTrust", Allow::Members),
    ("/postern.v1.ClusterService/ExplainSsh", Allow::Rbac),
    ("/postern.v1.ClusterService/ExplainJoin", Allow::Rbac),
    ("/postern.v1.ClusterService/ListNodes", Allow::Users),
];

/// Whether `caller` may call the method at this path.
pub fn check(path: &str, caller: &Caller) -> Result<(), Problem> {
    let Some((_, allow)) = TABLE.iter().find(|(method, _)| *method == path) else {
        return Err(Problem::new(Class::Denied, "unknown_method", "there is no such method for you here"));
    };
    match (allow, &caller.who) {
        (Allow::Anyone, _) => Ok(()),
        (_, Who::Stranger) => Err(Problem::new(
            Class::Unauthenticated,
            "no_certificate",
            "this needs a certificate of the cluster and none was shown",
        )
        .hint("join first")),
        (Allow::Hosts(roles), Who::Host(host)) if roles.contains(&host.role) => Ok(()),
        (Allow::Joined, Who::Host(host)) if [Proxy, Node].contains(&host.role) => Ok(()),
        (Allow::Bot | Allow::Joined, Who::User(user)) if user.own_bot().is_some() => Ok(()),
        (Allow::Users | Allow::Members | Allow::Rbac, Who::User(_) | Who::LocalAdmin { .. }) => Ok(()),
        (Allow::Members, Who::Host(_)) => Ok(()),
        (Allow::Bot | Allow::Joined, Who::User(_)) => {
            Err(wrong("only the own identity of a bot may call this"))
        }
        (Allow::Bot | Allow::Joined | Allow::Hosts(_) | Allow::Users | Allow::Rbac, _) => {
            Err(wrong("a certificate of this role may not call this"))
        }
    }
}

fn wrong(reason: &str) -> Problem {
    Problem::new(Class::Denied, "wrong_role", reason)
}

/// Puts the table in front of services: every call is checked before its service sees it, and the service finds the
/// [`Caller`] in the request's extensions.
pub fn guarded(routes: Routes, catalog: Arc<Catalog>) -> Routes {
    let guard = axum::middleware::from_fn_with_state(catalog, guard);
    Routes::from(routes.into_axum_router().layer(guard))
}

async fn guard(State(catalog): State<Arc<Catalog>>, mut request: Request, next: Next) -> Response {
    let Some(peer) = request.extensions().get::<Peer>() else {
        let problem = crate::refusal::internal("a call came in without its peer", "no Peer in the request");
        return Status::from(problem).into_http();
    };
    let caller = Caller::of(peer);
    let proxy = request.extensions().get::<PassedOnBy>().map(|PassedOnBy(proxy)| Caller::of(proxy));
    let path = known(request.uri().path());
    if let Some(proxy) = proxy {
        if let Err(problem) = passes_on(&catalog, path, &proxy).await {
            // No event: whoever asks the proxy makes these, and may be anybody.
            tracing::info!(path, proxy = proxy.name(), code = problem.code, "a proxy may not pass calls on");
            return Status::from(problem).into_http();
        }
        request.extensions_mut().insert(Via(proxy));
    }
    let unlocked = refuse_locked(&catalog, path, &caller);
    let is_locked = unlocked.is_err();
    match check(path, &caller).and(unlocked) {
        Ok(()) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            record(&catalog, path, &caller, &problem).await;
            let mut answer: Response = Status::from(problem).into_http();
            if is_locked {
                // It may come again to hear whether the lock was lifted, at the cost of a handshake each time.
                answer.extensions_mut().insert(Dismissed);
            }
            answer
        }
    }
}

/// The name of a method; of what is none, whatever a caller made up, nothing is written down.
fn known(path: &str) -> &'static str {
    TABLE.iter().find(|(method, _)| *method == path).map_or("unknown", |(method, _)| method)
}

/// The proxy that passed a call on.
#[derive(Debug, Clone)]
pub struct Via(pub Caller);

/// Whether a proxy may pass on calls of strangers: not when it is locked, and not when it was removed.
async fn passes_on(catalog: &Catalog, path: &str, proxy: &Caller) -> Result<(), Problem> {
    refuse_locked(catalog, path, proxy)?;
    match &proxy.who {
        Who::Host(host) => crate::enrol::host::refuse_removed(catalog, host).await,
        _ => Err(wrong("only a proxy passes on the calls of others")),
    }
}

/// Who is locked gets nothing. From the view: what gives out certificates asks the store again.
pub fn refuse_locked(catalog: &Catalog, path: &str, caller: &Caller) -> Result<(), Problem> {
    // A locked instance may still be told apart from its copy.
    if path == RENEW_BOT {
        return Ok(());
    }
    let view = catalog.view();
    let locks = view.locks.values().map(|found| &*found.value);
    match in_force(locks, &caller.lock_subject(), catalog.now()) {
        Some(lock) => Err(crate::refusal::denied(&lock.into())),
        None => Ok(()),
    }
}

/// Refusals of members are events, in moderation; those of strangers are for the debug log, because anybody can make them.
async fn record(catalog: &Catalog, path: &str, caller: &Caller, problem: &Problem) {
    tracing::debug!(path, caller = caller.name(), code = problem.code, "call refused");
    if let Who::Stranger = caller.who {
        return;
    }
    let event = caller.describe(Event::new(kind::ACCESS_DENIED)).with("method", path);
    let event = event.with("reason", problem.code.as_str()).failed(&problem.reason);
    if let Err(error) = catalog.tell_refusal(caller.spender(), event).await {
        tracing::error!(%error, "a refusal could not be recorded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::HostId;
    use access::resource::Resource;
    use identity::key::SubjectKey;
    use identity::{BotIdentity, Permits, UserIdentity};
    use prost::Message as _;
    use std::collections::BTreeSet;

    #[test]
    fn every_method_is_in_the_table_once_and_nothing_else_is() {
        let files = prost_types::FileDescriptorSet::decode(api::DESCRIPTORS).expect("descriptors");
        let mut methods = BTreeSet::new();
        for file in &files.file {
            for service in &file.service {
                for method in &service.method {
                    methods.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        let listed: BTreeSet<String> = TABLE.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed.len(), TABLE.len(), "a method is listed twice");
        assert_eq!(listed, methods);
    }

    fn key() -> identity::key::PublicKey {
        SubjectKey::generate(&aws_lc_rs::rand::SystemRandom::new()).expect("a key").public().clone()
    }

    fn bot(change: fn(&mut UserIdentity)) -> Caller {
        let value =
            serde_json::json!({"kind": "bot", "version": "v1", "metadata": {"name": "ci"}, "spec": {}});
        let Ok(Resource::Bot(bot)) = Resource::from_json(value) else { panic!("a bot") };
        let user = access::bot::user_of(&bot);
        let mut identity = UserIdentity {
            name: user.name,
            bot: Some(BotIdentity {
                name: bot.name,
                instance: access::InstanceId(uuid::Uuid::new_v4()),
                generation: Some(1),
                join_token: None,
            }),
            roles: user.spec.roles,
            traits: user.spec.traits,
            logins: vec![],
            permits: Permits::default(),
            impersonator: None,
            renewable: true,
            disallow_reissue: false,
            login_ip: None,
            pinned_ip: None,
        };
        change(&mut identity);
        let user = crate::caller::User { identity, key: key(), expires: jiff::Timestamp::MAX };
        Caller { who: Who::User(Box::new(user)), addr: None }
    }

    fn host(role: SystemRole) -> Caller {
        let id = HostId(uuid::Uuid::new_v4());
        let host = crate::caller::Host { id, role, names: vec![], key: key() };
        Caller { who: Who::Host(Box::new(host)), addr: None }
    }

    #[test]
    fn the_default_is_no() {
        let admin = Caller { who: Who::LocalAdmin { uid: 0 }, addr: None };
        for path in ["", "/", "/postern.v1.ResourceService/", "/postern.v1.ResourceService/Get/", "/x/Get"] {
            assert_eq!(check(path, &admin).expect_err(path).code, "unknown_method", "{path}");
            assert_eq!(known(path), "unknown");
        }
    }

    /// Row P9 of the abuse tests, and its neighbours.
    #[test]
    fn hosts_and_outputs_reach_nothing_but_their_own() {
        let stranger = Caller { who: Who::Stranger, addr: None };
        let admin = Caller { who: Who::LocalAdmin { uid: 0 }, addr: None };
        let own = bot(|_| {});
        let output = bot(|identity| {
            identity.renewable = false;
            identity.disallow_reissue = true;
            identity.impersonator = Some(identity.name.clone());
        });
        // Each thing by which an output differs from an instance's own identity is enough.
        let reissued = bot(|identity| identity.impersonator = Some(identity.name.clone()));
        let final_one = bot(|identity| {
            identity.renewable = false;
            identity.disallow_reissue = true;
        });
        let uncounted = bot(|identity| {
            identity.renewable = false;
            identity.bot.iter_mut().for_each(|bot| bot.generation = None);
        });
        // It joins again in place of renewals; the service refuses it those.
        let joins_again = bot(|identity| identity.renewable = false);
        let hosts = SystemRole::ALL.map(host);
        for (path, allow) in TABLE {
            assert_eq!(check(path, &stranger).is_ok(), *allow == Allow::Anyone, "stranger {path}");
            for caller in [&own, &joins_again] {
                assert_eq!(check(path, caller).is_ok(), !matches!(allow, Allow::Hosts(_)), "bot {path}");
            }
            for caller in [&output, &reissued, &final_one, &uncounted] {
                let expected = !matches!(allow, Allow::Hosts(_) | Allow::Bot | Allow::Joined);
                assert_eq!(check(path, caller).is_ok(), expected, "output {path}");
            }
            let expected = !matches!(allow, Allow::Hosts(_) | Allow::Bot | Allow::Joined);
            assert_eq!(check(path, &admin).is_ok(), expected, "admin {path}");
            for (role, caller) in SystemRole::ALL.into_iter().zip(&hosts) {
                let expected = match allow {
                    Allow::Anyone | Allow::Members => true,
                    Allow::Hosts(roles) => roles.contains(&role),
                    Allow::Joined => [Proxy, Node].contains(&role),
                    Allow::Bot | Allow::Users | Allow::Rbac => false,
                };
                assert_eq!(check(path, caller).is_ok(), expected, "{role} {path}");
            }
        }
        assert_eq!(
            check("/postern.v1.ResourceService/Get", &hosts[1]).expect_err("refused").code,
            "wrong_role"
        );
    }
}
