//! Join methods from end to end: real programs, and a login with what they got.

use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use testkit::cluster::NodeSettings;
use testkit::wait::until;
use testkit::{Bot, Cluster, Issuer, Layout, SoftTpm, TpmMaker};

fn cluster() -> Cluster {
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.role("tester", "[root]", "{env: test}");
    cluster
}

fn token(cluster: &Cluster, bound: &str) {
    cluster.create(&format!(
        "kind: token\nversion: v2\nmetadata:\n  name: ci-runner\nspec:\n  roles: [Bot]\n  bot_name: ci\n  \
         join_method: bound_keypair\n  bound_keypair: {bound}\n"
    ));
}

fn shown(cluster: &Cluster) -> Value {
    let json = cluster.tctl(&["get", "token/ci-runner", "--with-secrets", "--format=json"]).ok();
    let shown: Value = serde_json::from_str(&json).expect("JSON");
    if shown.is_array() { shown[0].clone() } else { shown }
}

fn recoveries(cluster: &Cluster) -> u64 {
    shown(cluster)["status"]["bound_keypair"]["recovery_count"].as_u64().unwrap_or(0)
}

/// The bot `ci`, whose agent keeps a key; the one-time token that comes with a bot is not used.
fn agent(cluster: &Cluster, joining: &str, more: &str) -> Bot {
    let bot = cluster.bot("ci", &["tester"]);
    bot.configure_joining(
        &format!("join_method: bound_keypair, token: ci-runner{joining}"),
        &cluster.pin(),
        more,
    );
    bot
}

fn logs_in(bot: &Bot) {
    bot.ssh(&[&format!("root@{}", Bot::host("my-host")), "true"]).ok();
}

fn expire(bot: &Bot) {
    until("the agent's own certificate to end", || {
        let identity = std::fs::read_to_string(bot.storage().join("identity")).expect("stored");
        let credentials = identity::file::decode(&identity).expect("an identity");
        (credentials.expires() < jiff::Timestamp::now()).then_some(())
    });
}

#[test]
fn an_agent_with_a_bound_key_comes_back_after_its_certificate_ended() {
    let cluster = cluster();
    token_and_secret(&cluster);
    let secret = cluster.path().join("secret");
    let bot = agent(
        &cluster,
        &format!(", bound_keypair: {{registration_secret: {}}}", secret.display()),
        "certificate_ttl: 5s\n",
    );
    bot.oneshot().ok();
    for file in ["bound-key", "join-state"] {
        let mode = std::fs::metadata(bot.storage().join(file)).expect("kept").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    // The secret is for once.
    std::fs::remove_file(&secret).expect("ours");
    bot.oneshot().ok();
    assert_eq!(recoveries(&cluster), 1, "with a valid identity it stays who it is");
    expire(&bot);
    bot.oneshot().ok();
    assert_eq!(recoveries(&cluster), 2);
    // A life long enough to log in with, on a machine that has other things to do.
    bot.configure_joining("join_method: bound_keypair, token: ci-runner", &cluster.pin(), "");
    bot.oneshot().ok();
    logs_in(&bot);
    let listing = cluster.tctl(&["bots", "instances", "ls", "ci"]).ok();
    assert!(listing.contains("bound_keypair"), "{listing}");
}

fn token_and_secret(cluster: &Cluster) {
    token(cluster, "{recovery: {limit: 3}}");
    let secret = shown(cluster)["spec"]["bound_keypair"]["onboarding"]["registration_secret"].clone();
    std::fs::write(cluster.path().join("secret"), secret.as_str().expect("auth draws one")).expect("written");
}

#[test]
fn a_running_agent_with_a_bound_key_lives_through_the_end_of_its_certificate() {
    let mut cluster = cluster();
    token_and_secret(&cluster);
    let secret = cluster.path().join("secret");
    let bot = agent(
        &cluster,
        &format!(", bound_keypair: {{registration_secret: {}}}", secret.display()),
        "certificate_ttl: 5s\nrenewal_interval: 1s\n",
    );
    cluster.keep_proxy_port("all");
    let mut running = bot.start();
    assert_eq!(recoveries(&cluster), 1);
    cluster.process("all").kill();
    expire(&bot);
    cluster.restart("all");
    until("the agent to come back", || {
        running.assert_running();
        (recoveries(&cluster) == 2).then_some(())
    });
    assert!(running.stop().success());
}

#[test]
fn an_agent_replaces_its_bound_key_when_the_token_asks_for_another() {
    let cluster = cluster();
    token_and_secret(&cluster);
    let secret = cluster.path().join("secret");
    let bot = agent(&cluster, &format!(", bound_keypair: {{registration_secret: {}}}", secret.display()), "");
    let key = || std::fs::read_to_string(bot.storage().join("bound-key")).expect("kept");
    bot.oneshot().ok();
    let first = key();
    token(&cluster, &format!("{{recovery: {{limit: 3}}, rotate_after: {}}}", jiff::Timestamp::now()));
    bot.oneshot().ok();
    let second = key();
    assert_ne!(second, first);
    bot.oneshot().ok();
    assert_eq!(key(), second, "once is enough");
    assert_eq!(recoveries(&cluster), 1, "it stays who it is");
    let status = shown(&cluster)["status"]["bound_keypair"].clone();
    assert!(
        status.get("next_public_key").is_none() && status.get("previous_public_key").is_some(),
        "{status}"
    );
    logs_in(&bot);
}

#[test]
fn a_node_that_lost_everything_but_its_key_comes_back_by_itself() {
    let mut cluster = cluster();
    cluster.create(
        "kind: token\nversion: v2\nmetadata:\n  name: rack-7\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
         bound_keypair: {onboarding: {registration_secret: 0123456789abcdef}, recovery: {limit: 2}}\n",
    );
    let node = NodeSettings { name: "rack", labels: &[("env", "test")], more: "" };
    let params =
        "method: bound_keypair, token_name: rack-7, bound_keypair: {registration_secret: 0123456789abcdef}";
    cluster.add_node_joining(&node, params);
    let bot = cluster.bot("ci", &["tester"]);
    bot.oneshot().ok();
    let logs_in = || bot.ssh(&[&format!("root@{}", Bot::host("rack")), "true"]).ok();
    logs_in();
    let data = cluster.path().join("rack");
    let key = data.join("host/node/bound-key");
    let mode = std::fs::metadata(&key).expect("kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read(&key).expect("kept");
    assert!(cluster.process("rack").stop().success());
    std::fs::remove_dir_all(&data).expect("ours");
    std::fs::create_dir_all(key.parent().expect("a directory")).expect("made");
    std::fs::write(&key, kept).expect("restored");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    cluster.restart("rack");
    until("the node to be found by its name again", || {
        bot.ssh(&[&format!("root@{}", Bot::host("rack")), "true"]).code().eq(&0).then_some(())
    });
    let json = cluster.tctl(&["get", "token/rack-7", "--format=json"]).ok();
    let shown: Value = serde_json::from_str(&json).expect("JSON");
    let shown = if shown.is_array() { shown[0].clone() } else { shown };
    assert_eq!(shown["status"]["bound_keypair"]["recovery_count"], 2, "{shown}");
}

/// What `tbot tpm identify` prints.
fn identify(tpm: &SoftTpm, key: &str) -> String {
    let mut tbot = testkit::programs::command(testkit::programs::ours("tbot"));
    let device = format!("unix:{}", tpm.socket().display());
    tbot.args(["tpm", "identify", "--device", &device, "--endorsement-key", key]);
    let told = testkit::run(&mut tbot);
    assert!(told.stderr.contains("spec.tpm.allow: [{ek_public_hash: "), "the next step: {told:#?}");
    told.ok()
}

fn line(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn an_agent_joins_by_the_tpm_of_its_machine_and_by_no_other() {
    let Some(maker) = TpmMaker::new() else { return };
    let (own, other) = (maker.make(), maker.make());
    let cluster = cluster();
    let shown = identify(&own, "rsa");
    let (hash, serial) = (line(&shown, "EK Public Hash: "), line(&shown, "EK Certificate Serial: "));
    assert!(identify(&own, "ecc").contains("EK Certificate Detected: false"), "swtpm has none on P-256");
    let indented = maker.authority().trim().replace('\n', "\n      ");
    let bot = cluster.bot("ci", &["tester"]);
    let configure = |tpm: &SoftTpm| {
        let joining =
            format!("join_method: tpm, token: rack, tpm: {{device: \"unix:{}\"}}", tpm.socket().display());
        bot.configure_joining(&joining, &cluster.pin(), "");
    };
    for rule in [format!("ek_public_hash: {hash}"), format!("ek_certificate_serial: \"{serial}\"")] {
        cluster.create(&format!(
            "kind: token\nversion: v2\nmetadata:\n  name: rack\nspec:\n  roles: [Bot]\n  bot_name: ci\n  join_method: tpm\n  \
             tpm:\n    ekcert_allowed_cas:\n    - |\n      {indented}\n    allow:\n    - {rule}\n"
        ));
        configure(&own);
        bot.oneshot().ok();
        logs_in(&bot);
        std::fs::remove_dir_all(bot.storage()).expect("ours");
    }
    configure(&other);
    let refused = bot.oneshot().refused();
    assert!(refused.contains("does not let this joiner in"), "{refused}");
}

#[test]
fn a_node_joins_by_the_tpm_of_its_machine_and_by_no_other() {
    let Some(maker) = TpmMaker::new() else { return };
    let (own, other) = (maker.make(), maker.make());
    // The daemon asks as its own user.
    own.share();
    other.share();
    let mut cluster = cluster();
    let token = |cluster: &Cluster, tpm: &SoftTpm, key: &str| {
        let hash = line(&identify(tpm, key), "EK Public Hash: ");
        cluster.create(&format!(
            "kind: token\nversion: v2\nmetadata:\n  name: rack\nspec:\n  roles: [Node]\n  join_method: tpm\n  \
             tpm:\n    allow:\n    - ek_public_hash: {hash}\n"
        ));
    };
    let prepare = |cluster: &Cluster, key: &str| {
        let socket = own.socket();
        let tpm = format!("{{device: \"unix:{}\", endorsement_key: {key}}}", socket.display());
        let node = NodeSettings { name: "rack", labels: &[("env", "test")], more: "" };
        cluster.prepare_node_joining(&node, &format!("method: tpm, token_name: rack, tpm: {tpm}"));
    };
    let bot = cluster.bot("ci", &["tester"]);
    bot.oneshot().ok();
    for key in ["rsa", "ecc"] {
        prepare(&cluster, key);
        token(&cluster, &other, key);
        let refused = testkit::run(&mut cluster.start_command("rack")).refused();
        assert!(refused.contains("cannot join the cluster as Node"), "{refused}");
        assert!(refused.contains("does not let this joiner in with this token"), "{refused}");
        token(&cluster, &own, key);
        cluster.restart("rack");
        until("the node to be found", || {
            bot.ssh(&[&format!("root@{}", Bot::host("rack")), "true"]).code().eq(&0).then_some(())
        });
        assert!(cluster.process("rack").stop().success());
        // Next time it has nothing but its TPM, and shows the other key of it.
        std::fs::remove_dir_all(cluster.path().join("rack")).expect("ours");
    }
}

#[test]
fn a_key_made_beforehand_needs_no_secret() {
    let cluster = cluster();
    let bot = agent(&cluster, "", "");
    let create = |more: &[&str]| {
        let mut tbot = testkit::programs::command(testkit::programs::ours("tbot"));
        tbot.args(["keypair", "create", "--storage"]).arg(bot.storage()).args(more);
        testkit::run(&mut tbot).ok().trim().to_owned()
    };
    let line = create(&[]);
    assert!(line.starts_with("ecdsa-sha2-nistp256 "), "{line}");
    assert_eq!(create(&[]), line, "it is the same the next time");
    token(&cluster, &format!("{{onboarding: {{initial_public_key: {line}}}}}"));
    bot.oneshot().ok();
    logs_in(&bot);
    assert_ne!(create(&["--overwrite"]), line);
    let refused = bot.oneshot().refused();
    assert!(refused.contains("does not let this joiner in"), "{refused}");
}

/// Where an issuer of ID tokens is told of jobs that the tests make up.
struct Platform {
    issuer: Issuer,
    cluster: Cluster,
    bot: Bot,
}

impl Platform {
    fn start(method: &str, section: &Value, prefix: &str) -> Option<Self> {
        let issuer = Issuer::start(prefix)?;
        let cluster = cluster();
        let bot = cluster.bot("ci", &["tester"]);
        bot.configure_joining(&format!("join_method: {method}, token: jobs"), &cluster.pin(), "");
        // The real thing is on the Internet; its keys are given, so that the daemon need not ask it.
        let mut section = section.clone();
        section["static_jwks"] = Value::String(issuer.keys().to_string());
        let host = issuer.host.clone();
        for (_, value) in section.as_object_mut().expect("a section") {
            if value == "HOST" {
                *value = Value::String(host.clone());
            }
        }
        let token = json!({"kind": "token", "version": "v2", "metadata": {"name": "jobs"}, "spec":
            {"roles": ["Bot"], "bot_name": "ci", "join_method": method, method: section}});
        cluster.create(&token.to_string());
        Some(Self { issuer, cluster, bot })
    }

    /// What an administrator is told of the refusal that the agent was told of.
    fn explained(&self, refusal: &str) -> String {
        let attempt = refusal.trim().rsplit(' ').next().expect("it ends with the attempt");
        self.cluster.tctl(&["join", "explain", attempt]).ok()
    }
}

#[test]
fn a_job_of_gitlab_joins_with_its_id_token() {
    let section = json!({"domain": "HOST", "allow": [{"project_path": "us/app", "ref": "main"}]});
    let Some(platform) = Platform::start("gitlab", &section, "") else { return };
    let Platform { issuer, bot, .. } = &platform;
    let without = bot.oneshot().refused();
    assert!(without.contains("TBOT_GITLAB_JWT is not set"), "{without}");
    let run =
        |claims: &Value| testkit::run(bot.oneshot_command().env("TBOT_GITLAB_JWT", issuer.mint(claims)));
    let job = |branch: &str| json!({"aud": "test.example.com", "project_path": "us/app", "ref": branch});
    let told = platform.explained(&run(&job("main; rm -rf")).refused());
    for part in ["REFUSED (join_refused)", "project_path", "\"main; rm -rf\"", "NO"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    run(&job("main")).ok();
    logs_in(bot);
    run(&job("main")).ok();
    let listing = platform.cluster.tctl(&["get", "bot_instances", "--format=json"]).ok();
    assert_eq!(listing.matches("\"instance_id\"").count(), 1, "it stays who it is: {listing}");
}

#[test]
fn a_job_of_github_asks_its_runner_for_an_id_token() {
    let section = json!({"enterprise_server_host": "HOST", "allow": [{"repository": "us/app"}]});
    let Some(platform) = Platform::start("github", &section, "/_services/token") else { return };
    let Platform { issuer, bot, .. } = &platform;
    let run = |secret: &str| {
        let mut tbot = bot.oneshot_command();
        tbot.env("ACTIONS_ID_TOKEN_REQUEST_URL", format!("https://{}/runner?version=1", issuer.host));
        tbot.env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", secret);
        // As an administrator would have the runner believe its server.
        tbot.env("SSL_CERT_FILE", issuer.root_file());
        testkit::run(&mut tbot)
    };
    issuer.vouch(&json!({"repository": "them/app"}));
    let wrong = run("another-secret").refused();
    assert!(wrong.contains("answered 401") && !wrong.contains("another-secret"), "{wrong}");
    assert!(platform.explained(&run("runner-secret").refused()).contains("them/app"));
    issuer.vouch(&json!({"repository": "us/app"}));
    run("runner-secret").ok();
    logs_in(bot);
}
