//! Outputs in Secrets of Kubernetes, against a stand-in that behaves as the API is documented, over TLS by an authority of its own.

use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use testkit::programs::command;
use testkit::{Bot, Cluster, Kubernetes, run};

const SECRET: &str = "apps/machine-id";

fn with_secret(api: &Kubernetes, more: &str) -> (Cluster, Bot) {
    let (cluster, bot) = Cluster::with_bot();
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let directory = format!("    type: directory\n    path: {}\n", bot.output().display());
    let secret = format!(
        "    type: kubernetes_secret\n    name: machine-id\n    api_server: {}\n    token_path: {}\n    ca_path: {}\n{more}",
        api.server,
        api.file("token").display(),
        api.file("cert.pem").display()
    );
    assert!(config.contains(&directory));
    std::fs::write(bot.config(), config.replace(&directory, &secret)).expect("written");
    (cluster, bot)
}

/// A key of the Secret, as `base64 -d` has it.
fn key_of(secret: &Value, name: &str) -> String {
    let mut decode = command("/usr/bin/base64")
        .arg("-d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let text = secret["data"][name].as_str().unwrap_or_else(|| panic!("no {name} in {secret}")).to_owned();
    decode.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    String::from_utf8(decode.wait_with_output().expect("ends").stdout).expect("text")
}

#[test]
fn all_keys_of_a_secret_change_in_one_request() {
    let Some(api) = Kubernetes::start() else { return };
    let (cluster, bot) = with_secret(&api, "    namespace: apps\n    labels: {app: deploy}\n");
    bot.oneshot().ok();
    let first = api.secret(SECRET).expect("it was made");
    assert_eq!((&first["type"], &first["labels"]), (&json!("Opaque"), &json!({"app": "deploy"})));
    bot.oneshot().ok();
    let second = api.secret(SECRET).expect("is there");
    assert_eq!(second["writes"], 2, "one request for each renewal");
    for secret in [&first, &second] {
        let set = identity::file::decode(&key_of(secret, "identity")).expect("the bundle is whole");
        assert_eq!(key_of(secret, "key"), *set.key.to_sec1_pem().expect("a key"));
        assert_eq!(key_of(secret, "key-cert.pub").trim(), set.ssh_certificate.line().trim());
        assert!(key_of(secret, "known_hosts").contains("@cert-authority"));
        assert!(secret["data"].get("ssh_config").is_none(), "it would name files");
    }
    assert_ne!(first["data"]["key"], second["data"]["key"]);
    // Its files are good for what files are good for.
    let identity = cluster.path().join("identity");
    std::fs::write(&identity, key_of(&second, "identity")).expect("written");
    std::fs::set_permissions(&identity, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let mut tsh = command(testkit::programs::ours("tsh"));
    tsh.arg("-i").arg(identity).args(["--proxy", &cluster.endpoint("proxy"), "ls"]);
    assert!(run(&mut tsh).ok().contains("my-host"));
    // Somebody deletes it.
    api.change(|state| state["secrets"] = json!({}));
    bot.oneshot().ok();
    assert!(api.secret(SECRET).is_some(), "it is made again");
}

#[test]
fn keys_that_somebody_else_manages_stay_as_they_are() {
    let Some(api) = Kubernetes::start() else { return };
    let (_cluster, bot) = with_secret(&api, "    namespace: apps\n");
    let theirs = json!({"type": "Opaque", "data": {"key": "dGhlaXJz", "other": "b3RoZXI="},
        "managers": {"key": "kubectl-client-side-apply", "other": "helm"}, "labels": {}});
    api.change(|state| state["secrets"][SECRET] = theirs.clone());
    let told = bot.oneshot().refused();
    for part in [
        "kubernetes_secret apps/machine-id cannot be written: the API answered 409 Apply failed with 1 conflict",
        "conflict with \"kubectl-client-side-apply\": .data.key",
        "choose another name, or delete the Secret",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    assert_eq!(api.secret(SECRET), Some(theirs));
    // Keys of others beside ours are no matter.
    api.change(|state| {
        let secret = &mut state["secrets"][SECRET];
        (secret["data"], secret["managers"]) = (json!({"other": "b3RoZXI="}), json!({"other": "helm"}));
    });
    bot.oneshot().ok();
    let both = api.secret(SECRET).expect("is there");
    assert_eq!((&both["data"]["other"], &both["managers"]["other"]), (&json!("b3RoZXI="), &json!("helm")));
    assert_eq!(both["managers"]["key"], "tbot");
}

#[test]
fn refusals_of_the_api_are_told_with_what_helps() {
    let Some(api) = Kubernetes::start() else { return };
    let (_cluster, bot) = with_secret(&api, "    namespace: apps\n");
    let set = |key: &'static str, value: Value| api.change(move |state| state[key] = value);
    let refused = |parts: &[&str]| {
        let told = bot.oneshot().refused();
        for part in parts {
            assert!(told.contains(part), "{part:?} is not in {told}");
        }
        assert!(!told.contains("account-token"), "{told}");
        assert_eq!(api.secret(SECRET), None);
    };
    set("denied", json!(true));
    refused(&[
        "answered 403",
        "cannot patch resource \"secrets\"",
        "allow the service account `patch` and `create`",
    ]);
    set("denied", json!(false));
    set("namespaces", json!([]));
    refused(&["answered 404 namespaces \"apps\" not found", "create the namespace first"]);
    set("namespaces", json!(["apps"]));
    set("broken", json!(true));
    refused(&["answered 500 etcdserver: leader changed"]);
    set("broken", json!(false));
    set("token", json!("another"));
    refused(&["answered 401 Unauthorized", "see `token_path`"]);
    // The token is changed under the agent, as the kubelet does it.
    std::fs::write(api.file("token"), "another").expect("written");
    bot.oneshot().ok();
    api.change(|state| state["secrets"] = json!({}));
    // Whoever else has this address is not the API.
    let foreign = rcgen_pem();
    std::fs::write(api.file("cert.pem"), foreign).expect("written");
    refused(&["kubernetes_secret apps/machine-id cannot be written: 127.0.0.1:", "certificate"]);
}

/// Another authority.
fn rcgen_pem() -> String {
    let other = Kubernetes::start().expect("started before");
    std::fs::read_to_string(other.file("cert.pem")).expect("it is there")
}

#[test]
fn settings_that_do_not_fit_are_told_before_anything_is_asked() {
    let Some(api) = Kubernetes::start() else { return };
    let (_cluster, bot) = with_secret(&api, "    path: /opt/x\n    symlinks: secure\n    namespace: A_B\n");
    let told = bot.oneshot().refused();
    for part in [
        "outputs[0].destination.path: a kubernetes_secret destination has no path; remove it",
        "outputs[0].destination.symlinks: a kubernetes_secret destination has no symlinks",
        "outputs[0].destination.namespace: is no name of Kubernetes",
    ] {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
    let (_cluster, bot) = with_secret(&api, "");
    let told = bot.oneshot().refused();
    assert!(
        told.contains("its namespace is not known; set `namespace`, or the variable POD_NAMESPACE"),
        "{told}"
    );
    let config = std::fs::read_to_string(bot.config()).expect("written before");
    let storage = format!("  type: directory\n  path: {}\n", bot.storage().display());
    let config = config.replace(&storage, "  type: kubernetes_secret\n  name: x\n");
    std::fs::write(bot.config(), config).expect("written");
    let told = bot.oneshot().refused();
    assert!(told.contains("storage.type: a kubernetes_secret is for outputs"), "{told}");
    run(bot.oneshot_command().env("POD_NAMESPACE", "apps")).refused();
}
