//! Host certificates that a bot gets for an SSH server that it looks after, and everything that it does not get.

use crate::harness::{Auth, Joiner, instance, key, one};
use access::HostId;
use access::resource::Kind;
use api::status::Problem;
use api::v1;
use api::v1::agent_message::Message as Say;
use api::v1::auth_message::Message as Said;
use api::v1::bot_service_client::BotServiceClient;
use api::v1::inventory_service_client::InventoryServiceClient;
use api::v1::output_answer::Answer;
use api::v1::output_request::Kind as Wanted;
use api::v1::resource_service_client::ResourceServiceClient;
use identity::Credentials;
use identity::key::SubjectKey;
use identity::ssh::SshCertificate;
use identity::verify::ssh::{HostContext, VerifiedHost, host};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;
use store::NewRecord;
use tonic::transport::Channel;

/// Somebody who asks for host certificates.
struct Asking {
    channel: Channel,
    roles: Vec<String>,
    ttl_seconds: u64,
}

impl Asking {
    fn new(channel: Channel) -> Self {
        Self { channel, roles: vec![], ttl_seconds: 0 }
    }

    async fn request(&self, key: &SubjectKey, names: &[&str]) -> Result<v1::HostCertificate, Problem> {
        let request = v1::HostRequest {
            public_key: key.spki_der(),
            principals: names.iter().map(|name| (*name).to_owned()).collect(),
            roles: self.roles.clone(),
            ttl_seconds: self.ttl_seconds,
        };
        let Answer::Host(answer) = one(self.channel.clone(), Wanted::Host(request)).await? else {
            panic!("something else")
        };
        Ok(answer)
    }

    async fn with_key(&self, key: &SubjectKey, names: &[&str]) -> Result<VerifiedHost, Problem> {
        let answer = self.request(key, names).await?;
        let trust = api::convert::trust(answer.trust.expect("a bundle")).expect("a bundle");
        let certificate = SshCertificate::from_line(&answer.ssh_certificate).expect("a certificate");
        let context = HostContext { trust: &trust, now: Timestamp::now(), names };
        let verified = host(certificate.blob(), &context).expect("clients accept it");
        assert_eq!(*verified.key(), key.public().ssh());
        Ok(verified)
    }

    async fn ask(&self, names: &[&str]) -> Result<VerifiedHost, Problem> {
        self.with_key(&key(), names).await
    }

    async fn refused(&self, names: &[&str]) -> String {
        match self.ask(names).await {
            Ok(host) => panic!("{:?}", host.host()),
            Err(problem) => problem.code.clone(),
        }
    }
}

async fn rule(auth: &Auth, role: &str, condition: &str) {
    let mut rule = json!({"resources": ["host_cert"], "verbs": ["create"]});
    if !condition.is_empty() {
        rule["where"] = condition.into();
    }
    rules(auth, role, json!([rule])).await;
}

async fn rules(auth: &Auth, role: &str, rules: Value) {
    auth.put(json!({"kind": "role", "version": "v7", "metadata": {"name": role},
        "spec": {"allow": {"rules": rules}}}))
        .await;
}

/// The role `hosts`, which lets a bot have servers among the nodes.
async fn nodes_rule(auth: &Auth) {
    let rule = json!([{"resources": ["host_cert"], "verbs": ["create"]}, {"resources": ["node"], "verbs": ["create", "update"]}]);
    rules(auth, "hosts", rule).await;
}

/// An instance of a bot with these roles.
async fn joined(auth: &Auth, bot: &str, roles: Value) -> Credentials {
    auth.put(json!({"kind": "bot", "version": "v1", "metadata": {"name": bot},
        "spec": {"roles": roles, "traits": []}}))
        .await;
    auth.join(&Joiner::bot(&auth.bot_token(bot).await)).await.expect("joins")
}

#[tokio::test]
async fn a_rule_lets_a_bot_have_host_certificates() {
    let auth = Auth::start().await;
    auth.role("ops", "root").await;
    rule(&auth, "hosts", r#"all_end_with(host_cert.principals, ".example.com")"#).await;
    let own = joined(&auth, "web", json!(["hosts", "ops"])).await;
    let mut asking = Asking::new(auth.member(&own));
    asking.ttl_seconds = 7200;
    let host = asking.ask(&["Web.example.com", "web2.example.com"]).await.expect("gets one");
    assert_eq!(host.host().names, ["web.example.com", "web2.example.com"]);
    assert_eq!(host.host().id.to_string(), instance(&own));
    let life = host.valid_before().duration_since(Timestamp::now());
    assert!(life <= SignedDuration::from_hours(2) && life > SignedDuration::from_mins(119), "{life}");
    let told = auth.events("cert.create").await;
    let told = told.iter().find(|event| event["cert_type"] == "host" && event["requested_by"] == "bot-web");
    assert_eq!(told.expect("an event")["identity"]["names"], json!(["web.example.com", "web2.example.com"]));

    assert_eq!(asking.refused(&["web.example.com", "web.elsewhere.org"]).await, "action_not_allowed");
    asking.roles = vec!["ops".to_owned()];
    assert_eq!(asking.refused(&["web.example.com"]).await, "action_not_allowed");
    let denied = auth.events("cert.denied").await;
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert_eq!(denied[0]["names"], json!(["web.example.com", "web.elsewhere.org"]), "what was asked for");
    // Renewed as long as it asks, with the same key or another.
    asking.roles.clear();
    let key = key();
    for _ in 0..2 {
        asking.with_key(&key, &["web.example.com"]).await.expect("again");
    }
}

#[tokio::test]
async fn without_a_rule_there_is_none() {
    let auth = Auth::start().await;
    let own = auth.joined_bot("ci").await;
    let asking = Asking::new(auth.member(&own));
    assert_eq!(asking.refused(&["free.example.com"]).await, "action_not_allowed");
    // Outputs, nodes and strangers do not get as far as the rule, whatever roles they show.
    rule(&auth, "ops", "").await;
    asking.ask(&["free.example.com"]).await.expect("the rule is there now");
    let output = crate::harness::output(auth.member(&own), &[], 0).await.expect("an output");
    assert_eq!(Asking::new(auth.member(&output)).refused(&["x.example.com"]).await, "wrong_role");
    let node = auth.join(&Joiner::node("web-1")).await.expect("joins");
    assert_eq!(Asking::new(auth.member(&node)).refused(&["x.example.com"]).await, "wrong_role");
    assert_eq!(Asking::new(auth.stranger()).refused(&["x.example.com"]).await, "no_certificate");
}

#[tokio::test]
async fn a_rule_for_every_name_gives_nobody_elses() {
    let auth = Auth::start().await;
    rule(&auth, "hosts", "").await;
    auth.join(&Joiner::node("web-1")).await.expect("joins");
    let (first, other) =
        (joined(&auth, "one", json!(["hosts"])).await, joined(&auth, "two", json!(["hosts"])).await);
    let (first, other) = (Asking::new(auth.member(&first)), Asking::new(auth.member(&other)));
    for name in ["web-1", "WEB-1.example.com"] {
        assert_eq!(first.refused(&["fine.example.com", name]).await, "host_name_taken", "{name}");
    }
    for (name, code) in [
        ("example.com", "host_name_reserved"),
        ("auth.postern.internal", "host_name_reserved"),
        ("*.example.com", "host_name_invalid"),
        ("*", "host_name_invalid"),
        ("", "host_name_invalid"),
    ] {
        assert_eq!(first.refused(&[name]).await, code, "{name}");
    }
    assert_eq!(first.refused(&[]).await, "invalid");
    first.ask(&["db.example.com"]).await.expect("free");
    assert_eq!(other.refused(&["db.example.com"]).await, "host_name_taken");
    // Neither does a node that joins by a token take it, nor one that claims to be that server.
    let refused = auth.join(&Joiner::node("db")).await.expect_err("taken");
    assert_eq!(refused.code, "host_name_taken", "{refused}");
    // Another copy of the bot may have the machine's place.
    let again = auth.join(&Joiner::bot(&auth.bot_token("one").await)).await.expect("joins");
    Asking::new(auth.member(&again)).ask(&["db.example.com"]).await.expect("the same bot");
    let mut posing = Joiner::node("free");
    posing.host.as_mut().expect("a host").host_id = instance(&again);
    assert_eq!(auth.join(&posing).await.expect_err("taken").code, "host_id_taken");
}

#[tokio::test]
async fn a_name_is_free_when_the_last_certificate_with_it_has_ended() {
    let auth = Auth::start().await;
    rule(&auth, "hosts", "").await;
    let (own, other) =
        (joined(&auth, "one", json!(["hosts"])).await, joined(&auth, "two", json!(["hosts"])).await);
    let (mut asking, other) = (Asking::new(auth.member(&own)), Asking::new(auth.member(&other)));
    asking.ttl_seconds = 2400;
    let long = asking.ask(&["db-1"]).await.expect("gets one");
    asking.ttl_seconds = 61;
    let short = asking.ask(&["db-1"]).await.expect("gets one");
    assert!(short.valid_before() < long.valid_before());
    // Not even another instance of the same bot makes the time shorter.
    let again = auth.join(&Joiner::bot(&auth.bot_token("one").await)).await.expect("joins");
    let mut again = Asking::new(auth.member(&again));
    again.ttl_seconds = 61;
    again.ask(&["db-1"]).await.expect("the same bot");
    auth.clock.advance(SignedDuration::from_mins(30));
    assert_eq!(other.refused(&["db-1"]).await, "host_name_taken");
    auth.clock.advance(SignedDuration::from_mins(11));
    other.request(&key(), &["db-1"]).await.expect("it is free");
}

#[tokio::test]
async fn names_are_few_and_an_administrator_frees_all_of_them() {
    let auth = Auth::start().await;
    rule(&auth, "hosts", "").await;
    let (own, other) =
        (joined(&auth, "one", json!(["hosts"])).await, joined(&auth, "two", json!(["hosts"])).await);
    let (asking, other) = (Asking::new(auth.member(&own)), Asking::new(auth.member(&other)));
    let names = |at: usize| (0..32).map(|number| format!("web-{}", at * 32 + number)).collect::<Vec<_>>();
    for at in 0..3 {
        let names = names(at);
        asking.ask(&names.iter().map(String::as_str).collect::<Vec<_>>()).await.expect("gets one");
    }
    assert_eq!(asking.refused(&["web-96"]).await, "host_names_too_many");
    asking.ask(&["web-0", "web-95"]).await.expect("those are its own");
    assert_eq!(other.refused(&["web-5"]).await, "host_name_taken");
    let delete = async |kind: &str, name: &str| {
        let request = v1::DeleteRequest { kind: kind.to_owned(), name: name.to_owned() };
        ResourceServiceClient::new(auth.admin()).delete(request).await.expect("deleted");
    };
    delete("node", &instance(&own)).await;
    for at in 0..3 {
        let names = names(at);
        other.ask(&names.iter().map(String::as_str).collect::<Vec<_>>()).await.expect("free");
    }
    // With a bot go the names of its servers.
    assert_eq!(asking.refused(&["web-5"]).await, "host_name_taken");
    delete("bot", "two").await;
    let left = auth.core().catalog.all(auth::catalog::layout::host_names()).await.expect("reads");
    assert!(left.is_empty(), "{left:?}");
    asking.ask(&["web-5"]).await.expect("free");
}

#[tokio::test]
async fn locks_stop_host_certificates() {
    let auth = Auth::start().await;
    rule(&auth, "hosts", "").await;
    let own = joined(&auth, "web", json!(["hosts"])).await;
    let asking = Asking::new(auth.member(&own));
    asking.ask(&["web.example.com"]).await.expect("gets one");
    for (name, target) in [
        ("user", json!({"user": "bot-web"})),
        ("role", json!({"role": "hosts"})),
        ("instance", json!({"bot_instance_id": instance(&own)})),
        ("server", json!({"server_id": instance(&own)})),
    ] {
        auth.lock(name, target).await;
        assert_eq!(asking.refused(&["web.example.com"]).await, "locked", "{name}");
        auth.delete(Kind::Lock, name).await;
    }
    asking.ask(&["web.example.com"]).await.expect("the locks are gone");
}

/// The stream of a server that reports this, and the first word on it.
async fn connected(
    channel: Channel,
    report: v1::NodeReport,
) -> Result<(v1::SshServerState, Stream), Problem> {
    begun(channel, Say::Node(report)).await
}

/// The same of one that nobody is to see.
async fn unlisted(channel: Channel) -> Result<(v1::SshServerState, Stream), Problem> {
    begun(channel, Say::Unlisted(v1::UnlistedReport {})).await
}

async fn begun(channel: Channel, first: Say) -> Result<(v1::SshServerState, Stream), Problem> {
    let (out, outgoing) = tokio::sync::mpsc::channel(4);
    out.send(v1::AgentMessage { message: Some(first) }).await.expect("room");
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let answer = InventoryServiceClient::new(channel).connect_ssh_server(outgoing).await;
    let incoming = answer.map_err(|status| Problem::of(&status))?.into_inner();
    let mut stream = Stream { _out: out, incoming };
    stream.state().await.map(|state| (state, stream))
}

struct Stream {
    _out: tokio::sync::mpsc::Sender<v1::AgentMessage>,
    incoming: tonic::Streaming<v1::AuthMessage>,
}

impl Stream {
    async fn state(&mut self) -> Result<v1::SshServerState, Problem> {
        loop {
            match self
                .incoming
                .message()
                .await
                .map_err(|status| Problem::of(&status))?
                .expect("a message")
                .message
            {
                Some(Said::SshServer(state)) => return Ok(state),
                Some(Said::Policy(_)) => panic!("the roles of a cluster are nothing to a stock server"),
                _ => {}
            }
        }
    }

    /// Waits for its end, long before its certificate ends.
    async fn end(mut self) -> Problem {
        let ended = async {
            loop {
                if let Err(problem) = self.state().await {
                    return problem;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the stream does not end")
    }

    /// Waits for one like this.
    async fn until(&mut self, wanted: impl Fn(&v1::SshServerState) -> bool) -> v1::SshServerState {
        loop {
            let state = self.state().await.expect("the stream stands");
            if wanted(&state) {
                return state;
            }
        }
    }
}

fn report(hostname: &str, addr: &str) -> v1::NodeReport {
    let (hostname, addr) = (hostname.to_owned(), addr.to_owned());
    v1::NodeReport { hostname, addr, version: "OpenSSH".to_owned(), ..v1::NodeReport::default() }
}

#[tokio::test]
async fn a_stock_server_is_a_node_by_rule_and_certificate_and_hears_of_locks() {
    let auth = Auth::start().await;
    rule(&auth, "hosts", "").await;
    let own = joined(&auth, "web", json!(["hosts"])).await;
    let channel = || auth.member(&own);
    let refused = async |report| match connected(channel(), report).await {
        Ok((state, _)) => panic!("{state:?}"),
        Err(problem) => problem.code,
    };
    let good = || report("web.example.com", "web.example.com:22");
    assert_eq!(refused(good()).await, "host_unknown", "it has no certificate");
    Asking::new(channel()).ask(&["web.example.com"]).await.expect("gets one");
    assert_eq!(refused(good()).await, "action_not_allowed", "no rule says that it may be a node");
    nodes_rule(&auth).await;
    assert_eq!(refused(report("other.example.com", "")).await, "host_name_not_own");
    assert_eq!(refused(report("web.example.com", "10.1.2.3:22")).await, "host_addr_not_own");
    let (state, mut stream) = connected(channel(), good()).await.expect("is a node");
    let trust = api::convert::trust(state.trust.expect("a bundle")).expect("a bundle");
    assert_eq!(trust.user.ssh.len(), 1);
    assert!(auth.core().presence.is_online(host_id(&own)));
    // It is there, so not even its bot's next copy takes its names.
    let again = auth.join(&Joiner::bot(&auth.bot_token("web").await)).await.expect("joins");
    assert_eq!(Asking::new(auth.member(&again)).refused(&["web.example.com"]).await, "host_name_taken");

    auth.role("ops", "root").await;
    let other = joined(&auth, "other", json!(["ops"])).await;
    let output = crate::harness::output(auth.member(&other), &[], 0).await.expect("an output");
    auth.lock("user", json!({"user": "alice"})).await;
    stream.until(|state| state.refused_key_ids == ["alice"]).await;
    auth.lock("login", json!({"login": "root"})).await;
    stream.until(|state| state.refused_logins == ["root"]).await;
    for (name, target) in
        [("instance", json!({"bot_instance_id": instance(&other)})), ("role", json!({"role": "ops"}))]
    {
        auth.lock(name, target).await;
        let state = stream.until(|state| state.refused_serials.contains(&output.serial())).await;
        assert!(!state.refused_serials.contains(&own.serial()), "{name}: it is not hit");
        auth.delete(Kind::Lock, name).await;
        stream.until(|state| state.refused_serials.is_empty()).await;
    }
    auth.lock("server", json!({"server_id": instance(&own)})).await;
    let state = stream.until(|state| !state.locked.is_empty()).await;
    assert!(state.locked.contains("is in force"), "{}", state.locked);
    auth.delete(Kind::Lock, "server").await;
    stream.until(|state| state.locked.is_empty()).await;
    auth.lock("own", json!({"user": "bot-web"})).await;
    assert_eq!(stream.end().await.code, "locked", "who speaks for it is locked");
}

/// The instance of a bot with the role `hosts`, which has a certificate for a server of this name.
async fn keeper(auth: &Auth, bot: &str) -> Credentials {
    let own = joined(auth, bot, json!(["hosts"])).await;
    Asking::new(auth.member(&own)).ask(&[&format!("{bot}.example.com")]).await.expect("gets one");
    own
}

fn host_id(own: &Credentials) -> HostId {
    HostId(instance(own).parse().expect("an id"))
}

#[tokio::test]
async fn a_stream_ends_with_the_right_to_speak() {
    let auth = Auth::start().await;
    nodes_rule(&auth).await;
    let connect = async |own: &Credentials, bot: &str| {
        let name = format!("{bot}.example.com");
        connected(auth.member(own), report(&name, &format!("{name}:22"))).await.map(|(_, stream)| stream)
    };
    let again = async |own: &Credentials, bot: &str| match connect(own, bot).await {
        Ok(_) => panic!("{bot} speaks again"),
        Err(problem) => problem.code,
    };

    // The instance is removed.
    let own = keeper(&auth, "one").await;
    let stream = connect(&own, "one").await.expect("is a node");
    auth.delete(Kind::BotInstance, &format!("one/{}", instance(&own))).await;
    assert_eq!(stream.end().await.code, "superseded");
    assert_eq!(again(&own, "one").await, "instance_unknown");

    // The bot is removed, and with it its instances.
    let own = keeper(&auth, "two").await;
    let stream = connect(&own, "two").await.expect("is a node");
    let mut admin = BotServiceClient::new(auth.admin());
    admin.delete_bot(v1::DeleteBotRequest { name: "two".to_owned() }).await.expect("goes");
    let code = stream.end().await.code;
    assert!(["superseded", "not_found", "locked"].contains(&code.as_str()), "{code}");
    assert!(!auth.core().presence.is_online(host_id(&own)));

    // The bot, the instance, or a role that lets it speak is locked.
    let own = keeper(&auth, "three").await;
    for (name, target) in [
        ("user", json!({"user": "bot-three"})),
        ("instance", json!({"bot_instance_id": instance(&own)})),
        ("role", json!({"role": "hosts"})),
    ] {
        let stream = connect(&own, "three").await.expect("is a node");
        auth.lock(name, target).await;
        assert_eq!(stream.end().await.code, "locked", "{name}");
        assert_eq!(again(&own, "three").await, "locked", "{name}");
        auth.delete(Kind::Lock, name).await;
    }

    // The role lets it no more, and then the bot has it no more.
    let stream = connect(&own, "three").await.expect("is a node");
    rule(&auth, "hosts", "").await;
    assert_eq!(stream.end().await.code, "action_not_allowed");
    nodes_rule(&auth).await;
    let stream = connect(&own, "three").await.expect("is a node");
    auth.put(json!({"kind": "bot", "version": "v1", "metadata": {"name": "three"},
        "spec": {"roles": [], "traits": []}}))
        .await;
    assert_eq!(stream.end().await.code, "no_roles_requested");
}

#[tokio::test]
async fn an_unlisted_server_hears_of_locks_and_is_seen_by_nobody() {
    let auth = Auth::start().await;
    rule(&auth, "hosts", "").await;
    let own = joined(&auth, "web", json!(["hosts"])).await;
    let refused = async || match unlisted(auth.member(&own)).await {
        Ok((state, _)) => panic!("{state:?}"),
        Err(problem) => problem.code,
    };
    assert_eq!(refused().await, "host_unknown", "it has no certificate");
    Asking::new(auth.member(&own)).ask(&["web.example.com"]).await.expect("gets one");
    let (state, mut stream) = unlisted(auth.member(&own)).await.expect("hears");
    let trust = api::convert::trust(state.trust.expect("a bundle")).expect("a bundle");
    assert_eq!([state.host_signer], *trust.host.ssh_lines(), "who signs hosts");
    auth.lock("user", json!({"user": "alice"})).await;
    stream.until(|state| state.refused_key_ids == ["alice"]).await;
    let presence = &auth.core().presence;
    assert!(presence.is_online(host_id(&own)), "nobody else takes its names");
    assert!(presence.nodes_online().is_empty() && presence.routes().list.is_empty());

    // It was a node, and is to be none any more.
    nodes_rule(&auth).await;
    let (_, listed) = connected(auth.member(&own), report("web.example.com", "")).await.expect("is a node");
    assert!(presence.nodes_online().contains(&host_id(&own)));
    assert_eq!(stream.end().await.code, "superseded");
    let (_, stream) = unlisted(auth.member(&own)).await.expect("hears");
    listed.end().await;
    assert!(presence.nodes_online().is_empty());

    auth.delete(Kind::BotInstance, &format!("web/{}", instance(&own))).await;
    assert_eq!(stream.end().await.code, "superseded");
    assert_eq!(refused().await, "instance_unknown");
    // A member of the cluster has a policy to go by.
    let node = auth.join(&Joiner::node("node-1")).await.expect("joins");
    let (out, outgoing) = tokio::sync::mpsc::channel(1);
    let first = v1::AgentMessage { message: Some(Say::Unlisted(v1::UnlistedReport {})) };
    out.send(first).await.expect("room");
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let answer = InventoryServiceClient::new(auth.member(&node)).connect(outgoing).await;
    let told = answer.expect("a stream").into_inner().message().await.expect_err("refused");
    assert_eq!(Problem::of(&told).code, "wrong_role");
}

#[tokio::test]
async fn more_certificates_than_can_be_listed_are_refused_with_their_holders() {
    const MOST: u64 = 100_000;
    let auth = Auth::start().await;
    nodes_rule(&auth).await;
    let own = keeper(&auth, "web").await;
    let expires = (Timestamp::now() + SignedDuration::from_hours(1)).to_string();
    let issued = async |serials: std::ops::Range<u64>| {
        let record = |serial: u64| NewRecord {
            time: Timestamp::now(),
            name: "cert.create".to_owned(),
            code: "TC000I".to_owned(),
            body: json!({"event": "cert.create", "cert_type": "user", "serial": serial,
                "identity": {"roles": ["many"], "user": "bot-many", "expires": expires}})
            .to_string()
            .into(),
        };
        let all: Vec<u64> = serials.collect();
        for some in all.chunks(store::MAX_ACTIONS) {
            let records = some.iter().map(|serial| record(*serial)).collect();
            auth.core().catalog.engine.append(records).await.expect("appended");
        }
    };
    issued(1..MOST + 1).await;
    let name = || report("web.example.com", "web.example.com:22");
    let (_, mut stream) = connected(auth.member(&own), name()).await.expect("is a node");
    auth.lock("first", json!({"role": "many"})).await;
    let state = stream.until(|state| !state.refused_serials.is_empty()).await;
    assert_eq!((state.refused_serials.len(), state.locked.as_str()), (100_000, ""));
    auth.delete(Kind::Lock, "first").await;
    stream.until(|state| state.refused_serials.is_empty()).await;
    issued(MOST + 1..MOST + 2).await;
    auth.lock("second", json!({"role": "many"})).await;
    let state = stream.until(|state| !state.refused_key_ids.is_empty()).await;
    assert!(state.refused_serials.is_empty(), "half a list would let the other half in");
    assert_eq!((state.refused_key_ids, state.locked.as_str()), (vec!["bot-many".to_owned()], ""));
}
