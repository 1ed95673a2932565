//! Configuration files: what is read, and that everything wrong with a file is told at once.

use tbot::config::{Server, StartFlags, load, without_file};

const GOOD: &str = "\
version: v2
proxy_server: proxy.example.com
onboarding:
  join_method: token
  token: 0123456789abcdef
  ca_pins: ['sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa']
storage:
  type: directory
  path: /var/lib/tbot
outputs:
- type: identity
  destination:
    type: directory
    path: /opt/machine-id
";

fn mistakes(text: &str) -> String {
    load("tbot.yaml", text, &StartFlags::default()).expect_err("refused")
}

#[test]
fn the_guides_file_is_read() {
    let (config, replaced) = load("tbot.yaml", GOOD, &StartFlags::default()).expect("read");
    assert_eq!(config.server, Server::Proxy("proxy.example.com:3080".to_owned()));
    assert_eq!(config.outputs.len(), 1);
    assert_eq!(config.certificate_ttl.as_secs(), 3600);
    assert_eq!(config.renewal_interval.as_secs(), 1200);
    assert!(replaced.is_empty());
    assert!(!format!("{config:?}").contains("0123456789abcdef"), "the token is a secret");
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = "\
version: v2
proxy_server: a
auth_server: b
insecure: true
certificate_ttl: soon
outputs:
- type: identity
  destination:
    type: directory
    path: /opt/one
  roels: [x]
- type: identity
  destination:
    type: directory
    path: /opt/one
- type: identity
  destination:
    type: memory
    path: /x
";
    let told = mistakes(text);
    for part in [
        "tbot.yaml:3: auth_server: given together with proxy_server",
        "tbot.yaml:4: insecure: Postern never skips",
        "tbot.yaml:5: certificate_ttl: \"soon\" is not a duration",
        "tbot.yaml:11: outputs[0].roels: unknown key; did you mean \"roles\"?",
        "outputs[1].destination: /opt/one is the storage or another output's destination already",
        "outputs[2].destination.path: a memory destination has no path",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn fields_belong_to_a_type() {
    let with = |output: &str| {
        let text = format!("version: v2\nproxy_server: a\nstorage: /s\noutputs: [{output}]\n");
        load("tbot.yaml", &text, &StartFlags::default()).map(drop)
    };
    let reload = "reload: {pid_file: /run/sshd.pid}";
    for good in [
        "{type: ssh_host, destination: /h, principals: [a]}".to_owned(),
        format!("{{type: sshd, destination: /h, sshd: {{{reload}}}}}"),
        format!(
            "{{type: sshd, destination: /h, principals: [b], sshd: {{{reload}, hostname: a, accounts: [root]}}}}"
        ),
    ] {
        assert_eq!(with(&good), Ok(()), "{good}");
    }
    for (wrong, part) in [
        ("{type: ssh_host, destination: /h}".to_owned(), "outputs[0].principals: missing"),
        (
            "{type: ssh_host, destination: /h, principals: [a], ssh_config: off}".to_owned(),
            "outputs[0].ssh_config: does not belong to type: ssh_host; remove it",
        ),
        (
            "{type: identity, destination: /h, principals: [a]}".to_owned(),
            "outputs[0].principals: does not belong to type: identity",
        ),
        (
            "{type: identity, destination: /h, sshd: {}}".to_owned(),
            "outputs[0].sshd: does not belong to type: identity",
        ),
        ("{type: sshd, destination: /h}".to_owned(), "outputs[0].sshd.reload: missing"),
        (
            format!("{{type: sshd, destination: {{type: memory}}, sshd: {{{reload}}}}}"),
            "the destination must be a directory",
        ),
        (format!("{{type: sshd, destination: '/a b', sshd: {{{reload}}}}}"), "the destination has to be"),
        (
            format!("{{type: sshd, destination: /h, sshd: {{{reload}, snippet: 'x.conf'}}}}"),
            "outputs[0].sshd.snippet: write an absolute path",
        ),
        (
            format!("{{type: sshd, destination: /h, sshd: {{{reload}, accounts: ['a,b']}}}}"),
            "outputs[0].sshd.accounts[0]",
        ),
        (
            "{type: sshd, destination: /h, sshd: {reload: {exec: [reload]}}}".to_owned(),
            "outputs[0].sshd.reload.exec: write the absolute path",
        ),
    ] {
        let told = with(&wrong).expect_err(&wrong);
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn what_is_refused_says_why() {
    for (text, part) in [
        ("version: v1\nproxy_server: a\n", "v1 files are not read"),
        ("proxy_server: a\n", "version"),
        ("version: v2\n", "either a proxy or an auth address must be set"),
        ("version: v2\nproxy_server: 'a b'\n", "is not an address"),
        ("version: v2\nproxy_server: a\nonboarding: {ca_pins: [x]}\n", "onboarding.ca_pins[0]"),
        (
            "version: v2\nproxy_server: a\nonboarding: {join_method: tpm, token: x, tpm: {device: tpm0}}\n",
            "onboarding.tpm.device: is not where a TPM is; write /dev/tpmrm0, unix:/path or tcp:host:port",
        ),
        (
            "version: v2\nproxy_server: a\nonboarding: {token: x, tpm: {device: /dev/tpmrm0}}\n",
            "onboarding.tpm: this section does not belong to join_method: token",
        ),
        ("version: v2\nproxy_server: a\nservices: [{type: example, destination: /x}]\n", "services[0].type"),
        ("version: v2\nproxy_server: a\ncertificate_ttl: 1h\ncredential_ttl: 1h\n", "keep one"),
        ("version: v2\nproxy_server: a\nrenewal_interval: 0\n", "at least one second"),
        ("version: v2\nproxy_server: a\nstorage: \"/x'y\"\n", "quotes"),
        ("version: [", "not valid YAML"),
    ] {
        let told = mistakes(text);
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn outputs_of_other_products_are_refused_by_name() {
    for list in ["outputs", "services"] {
        for kind in ["application", "database", "kubernetes", "kubernetes/v2"] {
            let told = mistakes(&format!(
                "version: v2\nproxy_server: a\n{list}:\n- type: {kind}\n  destination: /x\n"
            ));
            let words = format!("tbot.yaml:4: {list}[0].type: this kind of output is not part of Postern");
            assert!(told.contains(&words), "{words:?} is not in:\n{told}");
        }
    }
}

#[test]
fn each_output_has_a_name_and_a_rhythm_of_its_own() {
    let text = "\
version: v2
proxy_server: a
credential_ttl: 2h
renewal_interval: 30m
outputs:
- type: identity
  destination: /a
- type: identity
  name: deploy
  destination: /b
  roles: [x]
  credential_ttl: 30m
  renewal_interval: 10m
services:
- type: identity
  destination: /c
";
    let (config, _) = load("tbot.yaml", text, &StartFlags::default()).expect("read");
    let told: Vec<_> = config
        .outputs
        .iter()
        .map(|o| (o.name.as_str(), o.certificate_ttl.as_secs() / 60, o.renewal_interval.as_secs() / 60))
        .collect();
    assert_eq!(told, [("output-1", 120, 30), ("deploy", 30, 10), ("output-3", 120, 30)]);
}

/// The least that each kind needs beside its own type.
const KINDS: [(&str, &str); 8] = [
    ("identity", "destination: /a"),
    ("ssh_host", "destination: /a, principals: [a]"),
    ("sshd", "destination: /a, sshd: {reload: {systemd_reload: ssh}}"),
    ("spiffe-svid", "destination: /a, svid: {path: /a}"),
    ("workload-identity-x509", "destination: /a, svid: {path: /a}"),
    ("workload-identity-jwt", "destination: /a, svid: {path: /a}, audiences: [a]"),
    ("spiffe-workload-api", "listen: 'unix:///a', svids: [{path: /a}]"),
    ("workload-identity-api", "listen: 'unix:///a', svids: [{path: /a}]"),
];

/// What they do with them, `testkit::outputs` shows.
#[test]
fn every_kind_takes_the_options_of_all() {
    let schema = serde_json::to_value(schemars::schema_for!(tbot::config::file::OutputKind)).expect("JSON");
    let known = schema["oneOf"].as_array().expect("a list").len();
    assert_eq!(KINDS.len(), known, "a kind is missing here");
    for (kind, least) in KINDS {
        for list in ["outputs", "services"] {
            let with = |options: &str| {
                format!(
                    "version: v2\nproxy_server: a\ncredential_ttl: 3h\n{list}:\n- {{type: {kind}, {least}, {options}}}\n"
                )
            };
            let text = with("name: one, roles: [x, y], credential_ttl: 50m, renewal_interval: 11m");
            let (config, _) = load("tbot.yaml", &text, &StartFlags::default()).expect(kind);
            let [output] = config.outputs.as_slice() else { panic!("{config:?}") };
            let roles: Vec<&str> = output.roles.iter().map(|role| role.as_str()).collect();
            assert_eq!((output.name.as_str(), &roles[..]), ("one", &["x", "y"][..]), "{kind}");
            let minutes = [output.certificate_ttl, output.renewal_interval].map(|time| time.as_secs() / 60);
            assert_eq!(minutes, [50, 11], "{kind}");
            let (config, _) = load("tbot.yaml", &with("roles: []"), &StartFlags::default()).expect(kind);
            assert_eq!(config.outputs[0].certificate_ttl.as_secs(), 3 * 3600, "{kind}");
            for (option, told) in [
                ("name: a/b", "name: a name has letters"),
                ("name: identity", "is a service of the agent's own"),
                ("roles: ['a b']", "roles[0]: "),
                ("credential_ttl: 0", "credential_ttl: must be at least one second"),
                ("renewal_interval: soon", "renewal_interval: "),
                ("certificate_ttl: 1h", "certificate_ttl"),
            ] {
                let said = mistakes(&with(option));
                assert!(said.contains(told) && said.contains("tbot.yaml:5: "), "{kind} {option}: {said}");
            }
        }
    }
}

#[test]
fn names_and_directories_are_given_once() {
    let text = "\
version: v2
proxy_server: a
outputs:
- {type: identity, name: one, destination: /a}
- {type: identity, name: one, destination: /b}
- {type: identity, name: heartbeat, destination: /c}
- {type: identity, name: 'a/b', destination: /d}
services:
- {type: identity, destination: /a, credential_ttl: 0}
";
    let told = mistakes(text);
    for part in [
        "tbot.yaml:5: outputs[1].name: \"one\" is the name of another output already",
        "tbot.yaml:6: outputs[2].name: \"heartbeat\" is a service of the agent's own",
        "tbot.yaml:7: outputs[3].name: a name has letters",
        "tbot.yaml:9: services[0].destination: /a is the storage or another output's destination already",
        "tbot.yaml:9: services[0].credential_ttl: must be at least one second",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn flags_stand_above_the_file() {
    let flags = StartFlags {
        destination_dir: Some("/tmp/elsewhere".into()),
        token: Some("fedcba9876543210".to_owned()),
        certificate_ttl: Some("2h".to_owned()),
        data_dir: Some("memory://".to_owned()),
        oneshot: true,
        ..StartFlags::default()
    };
    let (config, replaced) = load("tbot.yaml", GOOD, &flags).expect("read");
    assert_eq!(config.outputs[0].destination.path(), Some(std::path::Path::new("/tmp/elsewhere")));
    assert_eq!(config.certificate_ttl.as_secs(), 7200);
    assert!(config.oneshot && !config.storage.is_persistent());
    assert_eq!(replaced, ["onboarding", "storage", "outputs"]);
    for uri in ["file://host/x", "memory://x", "https://x"] {
        let flags = StartFlags { data_dir: Some(uri.to_owned()), ..StartFlags::default() };
        assert!(load("tbot.yaml", GOOD, &flags).is_err(), "{uri}");
    }
}

#[test]
fn flags_alone_are_enough() {
    let flags = StartFlags {
        proxy_server: Some("p:1".to_owned()),
        destination_dir: Some("/opt/machine-id".into()),
        ..StartFlags::default()
    };
    assert_eq!(without_file(&flags).expect("enough").0.outputs.len(), 1);
    let insecure = StartFlags { insecure: true, ..flags };
    assert!(without_file(&insecure).expect_err("refused").contains("--ca-pin"));
}

#[test]
fn a_mistake_of_a_flag_is_told_with_the_flag() {
    let good = StartFlags {
        proxy_server: Some("p:1".to_owned()),
        destination_dir: Some("/opt/machine-id".into()),
        ..StartFlags::default()
    };
    let some = |text: &str| Some(text.to_owned());
    for (flags, told) in [
        (
            StartFlags { certificate_ttl: some("5x"), ..good.clone() },
            "--certificate-ttl: \"5x\" is not a duration; write it like 1h30m, 20m or 45s",
        ),
        (
            StartFlags { diag_addr: some("here"), ..good.clone() },
            "--diag-addr: \"here\" is not an address and port, like 127.0.0.1:3001",
        ),
        (
            StartFlags { join_method: some("x"), ..good.clone() },
            "--join-method x: unrecognized join method; known are ",
        ),
        (StartFlags { ca_pins: vec!["x".to_owned()], ..good.clone() }, "--ca-pin: "),
        (StartFlags { proxy_server: some("a b"), ..good }, "--proxy-server: "),
    ] {
        let alone = without_file(&flags).expect_err(told);
        assert!(alone.starts_with(told), "{told:?} is not the beginning of {alone}");
        let above = load("tbot.yaml", GOOD, &flags).expect_err(told);
        assert!(above.starts_with(told), "{told:?} is not the beginning of {above}");
    }
    let both = StartFlags { diag_addr: Some("here".to_owned()), ..StartFlags::default() };
    let told = load("tbot.yaml", &format!("{GOOD}renewal_interval: 5x\n"), &both).expect_err("refused");
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].starts_with("--diag-addr: ") && lines[1].starts_with("tbot.yaml:15: renewal_interval: "),
        "{told}"
    );
    let nothing = without_file(&StartFlags::default()).expect_err("refused");
    assert!(nothing.starts_with("--proxy-server: either a proxy or"), "{nothing}");
}

/// The page is generated; `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_reference_page_is_up_to_date() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/reference/tbot-yaml.md");
    let text = tbot::config::reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&page, &text).expect("written");
    }
    let written = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(written == text, "run the tests with UPDATE_GOLDEN=1 to write {}", page.display());
}

const WORKLOADS: &str = "\
version: v2
proxy_server: a
outputs:
- {type: spiffe-svid, destination: /opt/a, svid: {path: /svc/a, hint: x, sans: {dns: [a.example], ip: [10.0.0.1]}},
   jwts: [{audience: vault, file_name: vault.jwt}]}
- {type: workload-identity-x509, destination: /opt/b, svid: {path: /svc/b}}
- {type: workload-identity-jwt, destination: /opt/c, svid: {path: /svc/c}, audiences: [x, y]}
services:
- {type: spiffe-workload-api, listen: 'unix:///run/a.sock', svids: [{path: /svc/a, rules: [{unix: {uid: 0}}]}]}
- {type: workload-identity-api, listen: 'unix:/run/b.sock', svids: [{path: /svc/b}]}
";

#[test]
fn outputs_and_services_for_workloads_are_read_under_both_names() {
    use tbot::config::Content;
    let (config, _) = load("tbot.yaml", WORKLOADS, &StartFlags::default()).expect("read");
    let [a, b, c, d, e] = config.outputs.as_slice() else { panic!("{config:?}") };
    let files = |output: &tbot::config::Output| match &output.content {
        Content::Svid(files) => (files.svid.path.to_string(), files.x509, files.jwts.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(files(a), ("/svc/a".to_owned(), true, 1));
    assert_eq!(files(b), ("/svc/b".to_owned(), true, 0));
    assert_eq!(files(c), ("/svc/c".to_owned(), false, 1));
    for (output, listen) in [(d, "/run/a.sock"), (e, "/run/b.sock")] {
        let Content::WorkloadApi(api) = &output.content else { panic!("{output:?}") };
        assert_eq!((api.listen.to_str(), api.svids.len()), (Some(listen), 1));
    }
}

#[test]
fn what_says_nothing_about_a_workload_is_a_mistake() {
    let names = vec!["a.example"; 65].join(", ");
    let many = format!("type: spiffe-svid, destination: /a, svid: {{path: /a, sans: {{dns: [{names}]}}}}");
    for (entry, told) in [
        ("type: spiffe-svid, destination: /a", "svid: missing"),
        ("type: spiffe-svid, svid: {path: /a}", "destination: missing"),
        ("type: spiffe-svid, destination: /a, svid: {path: a}", "svid.path"),
        ("type: spiffe-svid, destination: /a, svid: {path: /a, sans: {dns: ['*.x']}}", "sans.dns[0]"),
        ("type: spiffe-svid, destination: /a, svid: {path: /a, sans: {ip: [x]}}", "sans.ip[0]"),
        (
            "type: spiffe-svid, destination: /a, svid: {path: /a}, jwts: [{audience: x, file_name: ../x}]",
            "file_name",
        ),
        (
            "type: spiffe-svid, destination: /a, svid: {path: /a}, jwts: [{audience: x, file_name: svid.pem}]",
            "file_name",
        ),
        (
            "type: spiffe-svid, destination: /a, svid: {path: /a}, audiences: [x]",
            "does not belong to type: spiffe-svid",
        ),
        ("type: workload-identity-jwt, destination: /a, svid: {path: /a}", "audiences"),
        (
            "type: workload-identity-x509, destination: /a, selector: {name: x}",
            "no workload_identity resources",
        ),
        ("type: identity, destination: /a, svid: {path: /a}", "does not belong to type: identity"),
        ("type: spiffe-workload-api, svids: [{path: /a}]", "listen: missing"),
        (
            "type: spiffe-workload-api, listen: 'tcp://127.0.0.1:1', svids: [{path: /a}]",
            "over TCP nobody can tell",
        ),
        ("type: spiffe-workload-api, listen: 'unix:a', svids: [{path: /a}]", "is no socket"),
        ("type: spiffe-workload-api, listen: 'unix:///a', svids: []", "name 1 to 32 workloads"),
        (
            "type: spiffe-svid, destination: /a, svid: {path: /a, sans: {ip: ['::ffff:10.0.0.1']}}",
            "sans.ip[0]",
        ),
        (&many, "svid.sans: an ID has at most 64 names"),
        (
            "type: spiffe-workload-api, listen: 'unix:///a', svids: [{path: /a, rules: [{unix: {gid: 1, pid: 2}}]}]",
            "rules[0].unix: pid is given without uid; give uid too",
        ),
        (
            "type: spiffe-workload-api, listen: 'unix:///a', svids: [{path: /a, rules: [{unix: {}}]}]",
            "says nothing",
        ),
        (
            "type: spiffe-workload-api, listen: 'unix:///a', destination: /a, svids: [{path: /a}]",
            "destination: does not belong",
        ),
    ] {
        let text = format!("version: v2\nproxy_server: a\noutputs:\n- {{{entry}}}\n");
        let said = mistakes(&text);
        assert!(said.contains(told), "{entry}: {told:?} is not in:\n{said}");
    }
}
