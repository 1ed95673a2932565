//! What PAM needs of the host: the library, and rules of the service's name. What is missing lets nobody in, and is told
//! when the daemon starts rather than to each user who comes.

use std::path::Path;

use super::PamConfig;

const LIBRARY: &str = "libpam.so.0";
/// Where rules are, in the order in which the library looks for them.
const RULES: [&str; 4] = ["etc/pam.d", "usr/etc/pam.d", "usr/lib/pam.d", "usr/share/pam.d"];
/// The rules of hosts without such directories.
const ALL_RULES: &str = "etc/pam.conf";
/// What the dynamic linker knows; a list of names and paths.
const CACHE: &str = "etc/ld.so.cache";
/// Where libraries are, on hosts whose linker keeps no list.
const LIBRARIES: [&str; 5] = ["lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib"];
/// Here libraries have places of their own, which only the programs that use them know.
const ELSEWHERE: [&str; 2] = ["nix/store", "gnu/store"];

/// What is missing below `root`, each with the next step.
pub(super) fn missing(pam: &PamConfig, root: &Path) -> Vec<String> {
    rules_missing(&pam.service, root).into_iter().chain(library_missing(root)).collect()
}

/// Whether no session could be started for want of the library.
pub(crate) fn library_missing(root: &Path) -> Option<String> {
    let named = |bytes: Vec<u8>| bytes.windows(LIBRARY.len()).any(|window| window == LIBRARY.as_bytes());
    let known = std::fs::read(root.join(CACHE)).is_ok_and(named);
    let there = || LIBRARIES.iter().any(|directory| root.join(directory).join(LIBRARY).exists());
    let elsewhere = || ELSEWHERE.iter().any(|store| root.join(store).exists());
    (!known && !there() && !elsewhere()).then(|| {
        format!(
            "ssh_service.pam.enabled: {LIBRARY} is not on this host, and without it nobody gets a session; install PAM, or set \
             enabled to no"
        )
    })
}

fn rules_missing(service: &str, root: &Path) -> Option<String> {
    let there = RULES.iter().any(|directory| root.join(directory).join(service).exists());
    let one_file = !root.join(RULES[0]).exists() && root.join(ALL_RULES).exists();
    (!there && !one_file).then(|| {
        format!(
            "ssh_service.pam.service_name: there is no /etc/pam.d/{service} on this host, so the rules of \"other\" count, which \
             usually refuse everybody; write that file, or name one that is there, such as sshd"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::missing;
    use crate::config::PamConfig;

    #[test]
    fn missing_rules_and_a_missing_library_are_told() {
        let host = tempfile::tempdir().expect("a directory");
        let said = |service: &str| {
            let pam = PamConfig { service: service.to_owned(), environment: Default::default() };
            missing(&pam, host.path()).join("\n")
        };
        let make = |path: &str, content: &str| {
            let path = host.path().join(path);
            std::fs::create_dir_all(path.parent().expect("is below")).expect("made");
            std::fs::write(path, content).expect("written");
        };
        make("etc/pam.d/sshd", "");
        let text = said("ssh");
        assert!(text.contains("no /etc/pam.d/ssh on") && text.contains("libpam.so.0 is not"), "{text}");
        make("etc/ld.so.cache", "\0libpam.so.0\0/lib/libpam.so.0\0");
        assert_eq!(said("sshd"), "");
        make("usr/lib/pam.d/ssh", "");
        assert_eq!(said("ssh"), "");
        make("etc/ld.so.cache", "\0libc.so.6\0");
        assert!(said("sshd").contains("install PAM"));
        make("usr/lib/libpam.so.0", "");
        assert_eq!(said("sshd"), "");
    }
}
