//! The program `postern` as its users call it: words and exit codes.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

fn postern(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postern"))
        .args(arguments)
        .env_remove("POSTERN_CONFIG_FILE")
        .env_remove("TELEPORT_CONFIG_FILE")
        .output()
        .expect("runs")
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

#[test]
fn version() {
    let (code, out, err) = said(&postern(&["version"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, concat!("Postern v", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_arguments_are_refused_with_code_2() {
    for arguments in [["start", "--nonsense"].as_slice(), &["frobnicate"], &["configure", "--roles", "kube"]]
    {
        let (code, out, err) = said(&postern(arguments));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains("--help"), "{err}");
    }
}

#[test]
fn a_configuration_is_written_checked_and_not_overwritten() {
    let root = tempfile::tempdir().expect("temporary directory");
    let path = root.path().join("postern.yaml");
    let (code, out, _) = said(&postern(&["configure", "--cluster-name", "example.com", "-o", shown(&path)]));
    assert_eq!((code, out), (Some(0), format!("Wrote {0}. Next: postern start -c {0}\n", path.display())));
    let mode = std::fs::metadata(&path).expect("exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, out, _) = said(&postern(&["configure", "--check", shown(&path)]));
    assert_eq!((code, out), (Some(0), format!("{} is valid; runs auth, proxy, node\n", path.display())));
    let (code, _, err) = said(&postern(&["configure", "-o", shown(&path)]));
    assert_eq!(code, Some(1));
    assert!(err.contains("exists; remove it first"), "{err}");
    let (_, printed, _) = said(&postern(&["configure", "--cluster-name", "example.com"]));
    assert_eq!(printed, std::fs::read_to_string(&path).expect("reads"));
}

#[test]
fn mistakes_are_printed_with_file_and_line_and_code_1() {
    let root = tempfile::tempdir().expect("temporary directory");
    let path = root.path().join("bad.yaml");
    std::fs::write(&path, "version: v3\nauth_service:\n  cluster_nam: x\n  keep_alive_interval: 5\n")
        .expect("writes");
    for arguments in [["configure", "--check", shown(&path)], ["start", "-c", shown(&path)]] {
        let (code, out, err) = said(&postern(&arguments));
        assert_eq!((code, out.as_str()), (Some(1), ""));
        let file = path.display();
        assert_eq!(
            err,
            format!(
                "{file}:3: auth_service.cluster_nam: unknown key; did you mean \"cluster_name\"?\n\
                 {file}:4: auth_service.keep_alive_interval: \"5\" is not a duration; write it like 1h30m, 20m, 45s or never\n"
            )
        );
    }
}

#[test]
fn a_start_on_occupied_ports_names_all_of_them_and_makes_no_cluster() {
    let root = tempfile::tempdir().expect("temporary directory");
    let (path, data_dir) = (root.path().join("postern.yaml"), root.path().join("data"));
    let taken = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("binds"));
    let [auth, proxy] = taken.each_ref().map(|taken| taken.local_addr().expect("is bound"));
    let config = format!(
        "version: v3\npostern: {{data_dir: {}}}\nauth_service: {{cluster_name: a.example, listen_addr: {auth}}}\n\
         proxy_service: {{enabled: yes, web_listen_addr: {proxy}}}\nssh_service: {{enabled: no}}\n",
        data_dir.display()
    );
    std::fs::write(&path, config).expect("writes");
    let (code, out, err) = said(&postern(&["start", "-c", shown(&path)]));
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    for (key, addr) in [("auth_service.listen_addr", auth), ("proxy_service.web_listen_addr", proxy)] {
        let expected = format!("{key}: cannot listen on {addr}: ");
        assert!(err.contains(&expected) && err.contains("stop it or choose another port"), "{err}");
    }
    let left: Vec<_> =
        std::fs::read_dir(&data_dir).expect("lists").map(|entry| entry.expect("reads")).collect();
    let left: Vec<_> = left.iter().map(std::fs::DirEntry::file_name).collect();
    assert_eq!(left, ["postern.lock"]);
}

#[test]
fn files_that_cannot_be_trusted_or_read_are_refused() {
    let root = tempfile::tempdir().expect("temporary directory");
    let missing = root.path().join("none.yaml");
    let (code, _, err) = said(&postern(&["start", "-c", shown(&missing)]));
    assert_eq!(code, Some(1));
    assert!(err.contains("does not exist; write one with `postern configure"), "{err}");
    let open = root.path().join("open.yaml");
    std::fs::write(&open, "version: v3\n").expect("writes");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    let (code, _, err) = said(&postern(&["start", "-c", shown(&open)]));
    assert_eq!(code, Some(1));
    assert!(err.contains("chmod o-w"), "{err}");
    let (_, _, err) = said(&postern(&["start", "-c", shown(root.path())]));
    assert!(err.contains("cannot be read"), "{err}");
}

#[test]
fn the_environment_names_the_file() {
    let output = Command::new(env!("CARGO_BIN_EXE_postern"))
        .arg("start")
        .env("TELEPORT_CONFIG_FILE", "/nowhere/else.yaml")
        .env_remove("POSTERN_CONFIG_FILE")
        .output()
        .expect("runs");
    assert!(said(&output).2.contains("/nowhere/else.yaml does not exist"));
}

#[test]
fn the_reference_has_every_section() {
    let (code, out, _) = said(&postern(&["configure", "--reference"]));
    assert_eq!(code, Some(0));
    for heading in ["## `postern`", "## `auth_service`", "## `proxy_service`", "## `ssh_service.commands[]`"]
    {
        assert!(out.contains(heading), "{heading}");
    }
}
