//! Identities for workloads, end to end: files, a socket, and whom to trust, each with what others read it by.

use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use testkit::programs::{command, ours, root};
use testkit::workload::{Workload, ask, possible, python};
use testkit::{Bot, Cluster, Layout, Outcome, Process, run, until};

const ROLE: &str = "kind: role\nversion: v7\nmetadata: {name: workloads}\nspec:\n  allow:\n    logins: [root]\n    \
                    node_labels: {env: test}\n    spiffe:\n    - path: /svc/*\n      dns_sans: ['*.internal']\n  \
                    deny:\n    spiffe: [{path: /svc/secret}]\n";

fn cluster() -> (Cluster, Bot, String) {
    let cluster = Cluster::start(Layout::OneProcess);
    cluster.create(ROLE);
    let added = cluster.tctl(&["bots", "add", "ci", "--roles=workloads", "--format=json"]).ok();
    let added: Value = serde_json::from_str(&added).expect("JSON");
    let token = added["token_id"].as_str().expect("a token").to_owned();
    let bot = Bot::new(cluster.path(), "ci", &token, &cluster.endpoint("proxy"), &cluster.pin());
    (cluster, bot, token)
}

fn openssl(arguments: &[&str]) -> String {
    run(command("/usr/bin/openssl").args(arguments)).ok()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn files_of_a_workload_are_good_to_others_and_change_together() {
    let (mut cluster, bot, token) = cluster();
    let (svid, jwt) = (bot.directory().join("svid"), bot.directory().join("jwt"));
    let more = format!(
        "- type: spiffe-svid\n  name: web\n  destination: {}\n  svid:\n    path: /svc/web\n    hint: web\n    sans: {{dns: \
         [web.internal]}}\n  jwts: [{{audience: vault, file_name: vault.jwt}}]\n- type: workload-identity-jwt\n  name: \
         token\n  destination: {}\n  svid: {{path: /svc/job}}\n  audiences: [a.example, b.example]\n",
        svid.display(),
        jwt.display()
    );
    bot.configure(&token, &cluster.pin(), &more);
    bot.oneshot().ok();
    let (leaf, key, bundle) =
        (svid.join("svid.pem"), svid.join("svid_key.pem"), svid.join("svid_bundle.pem"));
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    for file in [&leaf, &key, &bundle, &svid.join("vault.jwt"), &jwt.join("jwt_svid")] {
        let mode = std::fs::metadata(file).expect("written").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", file.display());
    }
    assert!(text(&key).starts_with("-----BEGIN PRIVATE KEY-----\n"));
    for purpose in ["sslserver", "sslclient"] {
        openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &path(&bundle), &path(&leaf)]);
    }
    let of_leaf = openssl(&["x509", "-in", &path(&leaf), "-noout", "-pubkey"]);
    assert_eq!(of_leaf, openssl(&["pkey", "-in", &path(&key), "-pubout"]));
    let names = openssl(&["x509", "-in", &path(&leaf), "-noout", "-ext", "subjectAltName"]);
    assert!(names.contains("URI:spiffe://test.example.com/svc/web, DNS:web.internal"), "{names}");

    // The next round replaces all of them.
    let before = (text(&leaf), text(&key), text(&svid.join("vault.jwt")));
    bot.oneshot().ok();
    let after = (text(&leaf), text(&key), text(&svid.join("vault.jwt")));
    assert!(before.0 != after.0 && before.1 != after.1 && before.2 != after.2);

    let config = path(&bot.config());
    let status = run(command(ours("tbot")).args(["status", "--format", "json", "-c", &config]));
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    for name in ["web", "token"] {
        let services = status["services"].as_array().expect("a list");
        let service = services.iter().find(|service| service["name"] == name).expect("listed");
        assert_eq!((&service["kind"], &service["status"]), (&json!("svid-output"), &json!("healthy")));
    }
    let doctor = run(command(ours("tbot")).args(["doctor", "-c", &config]));
    assert!(doctor.stdout.contains("output web"), "{doctor:#?}");

    // What the roles do not allow is refused, told, and costs the others nothing.
    bot.configure(&token, &cluster.pin(), &more.replace("/svc/job", "/svc/secret"));
    let refused = bot.oneshot().refused();
    assert!(
        refused.contains("output token: ") && refused.contains("/svc/secret is not allowed"),
        "{refused}"
    );
    assert!(text(&leaf) != after.0, "the other one was renewed");
    let events = cluster.tctl(&["events", "ls", "--format=json", "--type=spiffe.svid.issued"]);
    assert!(events.stdout.contains("TSPIFFE000I") && events.stdout.contains("TSPIFFE000E"), "{events:#?}");
    assert!(!events.stdout.contains(after.2.as_str()), "a token is a secret");

    // A command has them while it runs.
    bot.configure(&token, &cluster.pin(), &more);
    let mut exec = command(ours("tbot"));
    exec.args(["exec", "-c", &config, "--", "sh", "-c", "ls $TBOT_DESTINATION/web $TBOT_DESTINATION/token"]);
    let listed = run(&mut exec).ok();
    assert!(listed.contains("svid_key.pem") && listed.contains("jwt_svid"), "{listed}");
    let told = whom_to_trust(&cluster, &bot, &text(&bundle), &text(&jwt.join("jwt_svid")));
    let Some(told) = told else { return };
    assert_eq!((&told["found"], &told["iss"]), (&json!(404), &Value::Null), "nobody said who issues tokens");

    // With an issuer: every token names it, and so does the document, which is the same from whichever proxy.
    let issuer = "https://id.example.org/workload-identity";
    cluster.keep_proxy_port("all");
    let config = cluster.config("all");
    let named = format!("  cluster_name: test.example.com\n  workload_identity_issuer: {issuer}\n");
    std::fs::write(&config, text(&config).replace("  cluster_name: test.example.com\n", &named))
        .expect("written");
    assert!(cluster.process("all").stop().success());
    cluster.restart("all");
    bot.oneshot().ok();
    let told =
        whom_to_trust(&cluster, &bot, &text(&bundle), &text(&jwt.join("jwt_svid"))).expect("as before");
    assert_eq!((&told["found"]["issuer"], &told["iss"]), (&json!(issuer), &json!(issuer)));
    assert_eq!(told["found"]["jwks_uri"], format!("{issuer}/jwt-jwks.json"));
}

/// The proxy tells everybody, in the form of SPIFFE and in that of OpenID Connect.
fn whom_to_trust(cluster: &Cluster, bot: &Bot, bundle: &str, token: &str) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workloads/trust.py");
    let base = format!("https://{}", cluster.endpoint("proxy"));
    let mut asked = command(python()?);
    asked.arg(script).arg(&base).arg(bot.file("teleport-host-ca.crt")).arg(token);
    let told: Value = serde_json::from_str(&run(&mut asked).ok()).expect("JSON");
    assert_eq!(told["sub"], "spiffe://test.example.com/svc/job");
    let keys = told["bundle"]["keys"].as_array().expect("keys");
    let certificate = keys[0]["x5c"][0].as_str().expect("a certificate");
    assert!(bundle.replace('\n', "").contains(certificate), "{certificate} is not in {bundle}");
    Some(told)
}

#[test]
fn workloads_are_who_the_kernel_says_they_are() {
    if !root() || !possible() {
        return;
    }
    let (cluster, bot, token) = cluster();
    // Where other users get to.
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("opened");
    let socket = directory.path().join("workload.sock");
    let more = format!(
        "services:\n- type: spiffe-workload-api\n  name: api\n  listen: unix://{}\n  renewal_interval: 2s\n  svids:\n  - \
         path: /svc/a\n    hint: internal\n    rules: [{{unix: {{uid: 12345}}}}]\n  - path: /svc/b\n    rules: [{{unix: \
         {{uid: 12345, gid: 12345}}}}, {{unix: {{gid: 23456}}}}]\n  - path: /svc/c\n    rules: [{{unix: {{uid: 12345, gid: \
         1}}}}]\n",
        socket.display()
    );
    bot.configure(&token, &cluster.pin(), &more);
    let mut agent = bot.start();
    until("the workload API to hold something", || {
        agent.assert_running();
        agent.log().contains("SVIDs renewed").then_some(())
    });
    let ids = |told: &Value| told["ids"].clone();
    let [a, b] = ["a", "b"].map(|name| format!("spiffe://test.example.com/svc/{name}"));
    let first = ask(&socket, "fetch", Some(12345));
    assert_eq!(ids(&first), json!([a, b]), "{first:#}");
    assert_eq!(first["jwts"], json!([a, b]), "{first:#}");
    assert_eq!((&first["local"], &first["remote"], &first["own_key"]), (&json!(a), &json!(a), &json!(true)));
    assert_eq!(first["same"], json!([true, true]), "one that is fresh is given out again: {first:#}");
    assert!((200..=300).contains(&first["seconds"].as_i64().expect("a number")), "{first:#}");
    for wrong in ["other_audience", "changed"] {
        assert_ne!(first[wrong], "not refused", "{first:#}");
    }
    let second = ask(&socket, "fetch", Some(23456));
    assert_eq!(ids(&second), json!([b]), "{second:#}");
    for stranger in [None, Some(34567)] {
        let told = ask(&socket, "fetch", stranger);
        assert!(told["error"].as_str().is_some_and(|error| error.contains("no identity issued")), "{told:#}");
    }
    let refused = inspect(&format!("unix://{}", socket.display())).refused();
    assert!(refused.contains("no identity issued") && refused.contains("svids[].rules"), "{refused}");
    assert_eq!(ask(&socket, "bare", Some(12345)), "INVALID_ARGUMENT");
    assert_eq!(ask(&socket, "follow", Some(12345)), json!({"pushed": true}));

    let config = bot.config().display().to_string();
    let status = run(command(ours("tbot")).args(["status", "-c", &config]));
    assert!(status.stdout.contains("workload-api") || status.stdout.contains("api"), "{status:#?}");
    assert!(agent.stop().success());
}

/// An agent with a socket that other users get to.
fn serving(svids: &str) -> (Cluster, Bot, Process, tempfile::TempDir, PathBuf) {
    let (cluster, bot, token) = cluster();
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("opened");
    let socket = directory.path().join("workload.sock");
    let service = format!(
        "services:\n- {{type: spiffe-workload-api, name: api, listen: 'unix://{}', svids: {svids}}}\n",
        socket.display()
    );
    bot.configure(&token, &cluster.pin(), &service);
    let mut agent = bot.start();
    until("the workload API to hold something", || {
        agent.assert_running();
        agent.log().contains("SVIDs renewed").then_some(())
    });
    (cluster, bot, agent, directory, socket)
}

/// A user who asks for tokens without pause gets no more of them than its share, and the others get theirs.
#[test]
fn one_user_keeps_no_other_from_its_tokens() {
    if !root() || !possible() {
        return;
    }
    let (_cluster, _bot, mut agent, _directory, socket) = serving("[{path: /svc/a}]");
    let mut flood = Workload::start(&socket, "flood", Some(12345));
    flood.says("the first to be refused", |said| said == "refused");
    let got = ask(&socket, "many", Some(23456));
    assert_eq!(got, json!(vec![1; 30]), "{got:#}");
    drop(flood);
    assert!(agent.stop().success());
}

fn inspect(path: &str) -> Outcome {
    run(command(ours("tbot")).args(["spiffe-inspect", "--path", path]))
}

#[test]
fn inspect_says_what_its_caller_gets_or_why_nothing() {
    let (_cluster, _bot, mut agent, directory, socket) = serving(
        "[{path: /svc/a, hint: internal}, {path: /svc/b}, {path: /svc/c, rules: [{unix: {uid: 54321}}]}]",
    );
    let of = |path: &Path| inspect(&format!("unix://{}", path.display()));
    let told = of(&socket).ok();
    let lines: Vec<&str> = told.lines().collect();
    let [a, hint, expires, b, _] = lines[..] else { panic!("{told}") };
    assert_eq!((a, b), ("spiffe://test.example.com/svc/a", "spiffe://test.example.com/svc/b"));
    assert_eq!(hint, "  hint     internal");
    let expires = expires.trim_start_matches("  expires  ").parse::<jiff::Timestamp>().expect("a time");
    assert!(expires > jiff::Timestamp::now());
    assert!(agent.stop().success());
    let refused = of(&socket).refused();
    assert!(
        refused.contains("cannot connect to") && refused.contains("; check --path, and that tbot runs"),
        "{refused}"
    );
    // Sockets of others: one that speaks something else, and one that says nothing.
    let foreign = directory.path().join("agent.sock");
    let mut ssh_agent = command("/usr/bin/ssh-agent");
    ssh_agent.arg("-D").arg("-a").arg(&foreign);
    let ssh_agent = Process::start("ssh-agent", directory.path(), &mut ssh_agent);
    until("ssh-agent to listen", || foreign.exists().then_some(()));
    let refused = of(&foreign).refused();
    assert!(refused.contains("may be no SPIFFE Workload API"), "{refused}");
    drop(ssh_agent);
    let silent = directory.path().join("silent.sock");
    let _listener = UnixListener::bind(&silent).expect("a socket");
    let refused = of(&silent).refused();
    assert!(refused.contains("may be no SPIFFE Workload API"), "{refused}");
    for path in ["unix:relative", "tcp://127.0.0.1:1"] {
        let refused = inspect(path).refused();
        assert!(refused.contains("is no socket"), "{path}: {refused}");
    }
}
