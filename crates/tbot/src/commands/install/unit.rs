//! The unit's text, from what the configuration says it must reach.

use crate::config::hooks::{Action, Hook};
use crate::config::{Config, Content, Method, Output, Sshd, TokenSource};
use crate::destination::Destination;
use crate::destination::directory::acl;
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use transport::tpm::Address;

/// What a unit is made from.
pub(super) struct Unit<'a> {
    pub program: &'a Path,
    pub config_file: &'a Path,
    pub config: &'a Config,
    pub user: &'a str,
    pub group: &'a str,
}

/// Whatever the configuration is.
const HARDENED: &str = "\
UMask=0077
NoNewPrivileges=yes
ProtectSystem=strict
DevicePolicy=closed
PrivateMounts=yes
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
ProcSubset=pid
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
";

/// `StateDirectory=` parts at these, and undoes quoting once more than other settings do.
const OF_STATE_DIRECTORY: [char; 4] = [':', '\\', '"', '\''];

impl Unit<'_> {
    /// The text; refuses paths that would say something else in it.
    pub(super) fn render(&self) -> Result<String, String> {
        self.check()?;
        let (program, config) = (escaped(self.program), escaped(self.config_file));
        // Of an argument, unlike of the program itself, variables are put in.
        let argument = config.replace('$', "$$");
        let (user, group) = (self.user, self.group);
        Ok(format!(
            "# Written by `tbot install systemd` for {config}. Changes belong in a drop-in: systemctl edit.\n\
             # Hooks (on_renew) run under the same rules.\n\
             [Unit]\n\
             Description=Postern machine agent\n\
             Wants=network-online.target\n\
             After={after}\n\
             StartLimitIntervalSec=0\n\
             \n\
             [Service]\n\
             # Started means: every output is written and valid.\n\
             Type=notify\n\
             NotifyAccess=main\n\
             TimeoutStartSec=infinity\n\
             WatchdogSec=15min\n\
             User={user}\n\
             Group={group}\n\
             ExecStart={program} start -c {argument}\n\
             ExecReload=/bin/kill -HUP $MAINPID\n\
             Restart=always\n\
             RestartSec=5\n\
             \n\
             {HARDENED}{more}\n\
             [Install]\n\
             WantedBy=multi-user.target\n",
            after = self.after(),
            more = self.configured_lines(),
        ))
    }

    /// The servers that are looked after as well: sshd answers no question about its configuration before its unit has made
    /// its directory.
    fn after(&self) -> String {
        let mut after = vec!["network-online.target"];
        for sshd in self.servers() {
            match &sshd.reload.action {
                Action::Reload(unit) if !after.contains(&unit.as_str()) => after.push(unit),
                _ => {}
            }
        }
        after.join(" ")
    }

    fn check(&self) -> Result<(), String> {
        let storage = self.config.storage.path();
        let own = [self.program, self.config_file].into_iter().chain(self.device());
        for path in own.chain(self.outputs()).chain(storage) {
            if path.to_str().is_none_or(|text| text.contains(char::is_control)) {
                return Err(format!(
                    "the path {path:?} has a line break or another character that is no text, and would be more than a path \
                     in a unit; rename it"
                ));
            }
        }
        let below = storage.and_then(state_directory).map(Path::to_string_lossy);
        match below.is_some_and(|below| below.contains(OF_STATE_DIRECTORY)) {
            true => Err(format!(
                "the storage {:?} has one of {OF_STATE_DIRECTORY:?}, which mean something else to StateDirectory=; choose \
                 another directory",
                storage.unwrap_or(Path::new(""))
            )),
            false => Ok(()),
        }
    }

    /// Directories that are neither there nor made by systemd, with the mode that each should have.
    pub(super) fn to_be_made(&self) -> Vec<(&Path, &'static str)> {
        let missing = self.own().filter(|path| !path.exists());
        missing.map(|path| (path, if self.is_of_socket(path) { "0755" } else { "0700" })).collect()
    }

    /// Directories that belong to somebody else than this user, and to whom. What systemd makes, it gives to the unit's user.
    pub(super) fn of_others(&self, uid: u32) -> Vec<(&Path, u32)> {
        let owner = |path: &Path| std::fs::metadata(path).ok().map(|found| found.uid());
        let owned = self.own().filter_map(|path| Some((path, owner(path)?)));
        // A list on one of root's may let the user in (`tbot init`).
        let is_shared = |path: &Path| {
            std::fs::File::open(path).is_ok_and(|file| acl::present(file).is_ok_and(|list| list.is_some()))
        };
        owned.filter(|(path, owner)| *owner != uid && !(*owner == 0 && is_shared(path))).collect()
    }

    /// Directories that the agent writes to and systemd does not make.
    fn own(&self) -> impl Iterator<Item = &Path> {
        let storage = self.config.storage.path().filter(|path| state_directory(path).is_none());
        self.outputs().chain(storage)
    }

    /// Workloads of other users have to get to it.
    fn is_of_socket(&self, path: &Path) -> bool {
        let listens = |output: &Output| match &output.content {
            Content::WorkloadApi(api) => api.listen.parent() == Some(path),
            _ => false,
        };
        self.config.outputs.iter().any(listens)
    }

    /// Directories of sshd's configuration that are not there.
    pub(super) fn to_be_made_for_sshd(&self) -> Vec<&Path> {
        self.snippets().filter(|path| !path.exists()).collect()
    }

    fn configured_lines(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let mut line = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}={value}");
        };
        let made: Vec<String> = self.made_by_systemd().map(escaped).collect();
        if !made.is_empty() {
            line("StateDirectory", &made.join(" "));
            line("StateDirectoryMode", "0700");
        }
        let storage = self.config.storage.path().filter(|path| state_directory(path).is_none());
        for path in storage.into_iter().chain(self.outputs()).chain(self.snippets()) {
            line("ReadWritePaths", &escaped(path));
        }
        if self.user == "root" {
            // ProtectSystem=strict says so already; with other mounts of the unit's own, systemd 252 was seen to leave it out. What
            // is not root could not write there anyway.
            line("ReadOnlyPaths", "/run");
        }
        let below = |directories: &[&str]| {
            self.reached().iter().any(|path| directories.iter().any(|directory| path.starts_with(directory)))
        };
        line("ProtectHome", if below(&["/home", "/root", "/run/user"]) { "read-only" } else { "yes" });
        line("PrivateTmp", if below(&["/tmp", "/var/tmp"]) { "no" } else { "yes" });
        // Whose a process is has to be seen before it gets a signal.
        let signals = |hook: &Hook| matches!(hook.action, Action::Signal { .. });
        let (signals_anybody, signals_sshd) =
            (self.hooks().any(signals), self.servers().any(|sshd| signals(&sshd.reload)));
        line("ProtectProc", if signals_anybody || signals_sshd { "noaccess" } else { "invisible" });
        // Root's own processes, of which sshd is one, take signals from root without any.
        let capabilities = if signals_anybody { "CAP_KILL" } else { "" };
        line("CapabilityBoundingSet", capabilities);
        line("AmbientCapabilities", capabilities);
        let device = self.device();
        line("PrivateDevices", if device.is_some() { "no" } else { "yes" });
        if let Some(device) = device {
            line("DeviceAllow", &format!("{} rw", escaped(device)));
            // Root's group is given to nobody.
            let group = std::fs::metadata(device).map(|metadata| metadata.gid()).ok().filter(|gid| *gid != 0);
            if let Some(group) = group {
                line("SupplementaryGroups", &group.to_string());
            }
        }
        if self.knows_nobody_but_root() {
            line("PrivateUsers", "yes");
        }
        text
    }

    /// Below `/var/lib`: the storage, and what is made for sshd, which is nobody else's.
    fn made_by_systemd(&self) -> impl Iterator<Item = &Path> {
        let storage = self.config.storage.path();
        let of_sshd = self.config.outputs.iter().filter(|output| matches!(output.content, Content::Sshd(_)));
        storage
            .into_iter()
            .chain(of_sshd.filter_map(|output| output.destination.path()))
            .filter_map(state_directory)
    }

    /// Where outputs are, apart from what systemd makes.
    fn outputs(&self) -> impl Iterator<Item = &Path> {
        self.config.outputs.iter().filter_map(|output| match &output.content {
            Content::WorkloadApi(api) => api.listen.parent(),
            Content::Identity { .. } | Content::Svid(_) | Content::SshHost { .. } => {
                output.destination.path()
            }
            Content::Sshd(_) => output.destination.path().filter(|path| state_directory(path).is_none()),
        })
    }

    /// Of a TPM.
    fn device(&self) -> Option<&Path> {
        match &self.config.onboarding.method {
            Method::Tpm { device: Address::Device(path), .. } => Some(path),
            _ => None,
        }
    }

    fn servers(&self) -> impl Iterator<Item = &Sshd> {
        self.config.outputs.iter().filter_map(|output| match &output.content {
            Content::Sshd(sshd) => Some(&**sshd),
            _ => None,
        })
    }

    /// Where sshd's configuration is written.
    fn snippets(&self) -> impl Iterator<Item = &Path> {
        self.servers().filter_map(|sshd| sshd.snippet.parent())
    }

    fn hooks(&self) -> impl Iterator<Item = &Hook> {
        self.config.outputs.iter().flat_map(|output| &output.on_renew)
    }

    /// Then there need be no other users for it. Who reads a file, gets a signal or calls at a socket may be another one.
    fn knows_nobody_but_root(&self) -> bool {
        let alone = |output: &Output| {
            let unread =
                matches!(&output.destination, Destination::Directory(of) if of.known_readers().is_empty());
            matches!(output.content, Content::Sshd(_)) && unread && output.on_renew.is_empty()
        };
        self.user == "root" && self.device().is_none() && self.config.outputs.iter().all(alone)
    }

    /// Every path that the agent has to get to.
    fn reached(&self) -> Vec<PathBuf> {
        let mut reached = vec![self.program.to_owned(), self.config_file.to_owned()];
        reached.extend(self.outputs().chain(self.config.storage.path()).map(Path::to_owned));
        let secret = match &self.config.onboarding.method {
            Method::BoundKeypair { registration_secret } => registration_secret.as_ref(),
            Method::Tpm { device: Address::Unix(path), .. } => {
                reached.push(path.clone());
                None
            }
            _ => None,
        };
        for source in secret.into_iter().chain(&self.config.onboarding.token) {
            if let TokenSource::File(path) = source {
                reached.push(path.clone());
            }
        }
        for sshd in self.servers() {
            reached.extend([&sshd.config, &sshd.program, &sshd.snippet].map(Clone::clone));
        }
        for hook in self.hooks().chain(self.servers().map(|sshd| &sshd.reload)) {
            match &hook.action {
                Action::Exec(words) => reached.extend(words.first().map(PathBuf::from)),
                Action::Signal { pid_file, .. } => reached.push(pid_file.clone()),
                Action::Reload(_) => {}
            }
        }
        reached
    }
}

/// What is below this, systemd makes, for the user of the unit.
fn state_directory(path: &Path) -> Option<&Path> {
    path.strip_prefix("/var/lib").ok().filter(|below| !below.as_os_str().is_empty())
}

/// For unit files (systemd.syntax(7), systemd.unit(5)): `%` begins a specifier, blanks part words, quotes keep them together.
fn escaped(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "\\'");
    if text.contains(char::is_whitespace) { format!("\"{text}\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::Unit;
    use crate::config::{StartFlags, load};
    use crate::destination::{Destination, Directory, Symlinks};
    use std::path::Path;

    fn unit(more: &str) -> String {
        rendered("/etc/tbot.yaml", more, None).expect("rendered")
    }

    fn rendered_for(user: &str, more: &str) -> String {
        let text = format!("version: v2\nproxy_server: p:1\n{more}");
        let (config, _) = load("tbot.yaml", &text, &StartFlags::default()).expect("read");
        let (program, config_file) = (Path::new("/usr/bin/tbot"), Path::new("/etc/tbot.yaml"));
        Unit { program, config_file, config: &config, user, group: user }.render().expect("rendered")
    }

    fn rendered(config_file: &str, more: &str, storage: Option<&str>) -> Result<String, String> {
        let text = format!("version: v2\nproxy_server: p:1\n{more}");
        let (mut config, _) = load("tbot.yaml", &text, &StartFlags::default()).expect("read");
        if let Some(storage) = storage {
            config.storage = Destination::Directory(Directory::new(storage, Symlinks::Secure));
        }
        let (program, config_file) = (Path::new("/usr/bin/tbot"), Path::new(config_file));
        Unit { program, config_file, config: &config, user: "teleport", group: "teleport" }.render()
    }

    #[test]
    fn a_path_is_a_path_and_nothing_more() {
        let refused = |config_file: &str, storage: &str, part: &str| {
            let refused = rendered(config_file, "", Some(storage)).expect_err("refused");
            assert!(refused.contains(part), "{part:?} is not in {refused}");
        };
        let lines = "would be more than a path in a unit";
        refused("/etc/a\nExecStartPre=+touch x\n", "/srv/a", lines);
        refused("/etc/a\r", "/srv/a", lines);
        // A relative path in a file is below where one is, which may be called anything.
        refused("/etc/tbot.yaml", "/srv/a\nUser=root", lines);
        refused("/etc/tbot.yaml", "/var/lib/a\nUser=root", lines);
        refused("/etc/tbot.yaml", "/var/lib/a:b", "StateDirectory=");
        refused("/etc/tbot.yaml", "/var/lib/it's", "StateDirectory=");
        let text = rendered("/etc/%n $HOME ${A}'.yaml", "", Some("/srv/a:b$c'd")).expect("rendered");
        assert!(text.contains(r#"tbot start -c "/etc/%%n $$HOME $${A}\'.yaml""#), "{text}");
        assert!(text.contains(r"ReadWritePaths=/srv/a:b$c\'d"), "{text}");
    }

    #[test]
    fn it_may_write_where_the_configuration_says_and_nowhere_else() {
        let text = unit("outputs: [{type: identity, destination: '/opt/a b%'}]\n");
        for line in [
            "StateDirectory=teleport/bot",
            "ReadWritePaths=\"/opt/a b%%\"",
            "ProtectHome=yes",
            "PrivateTmp=yes",
            "ProtectProc=invisible",
            "CapabilityBoundingSet=\n",
            "ExecStart=/usr/bin/tbot start -c /etc/tbot.yaml",
        ] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
        assert_eq!(text.matches("ReadWritePaths").count(), 1, "{text}");
    }

    #[test]
    fn a_server_is_looked_after_by_root_who_may_do_nothing_else() {
        let of = |more: &str| {
            rendered_for(
                "root",
                &format!(
                    "services:\n- {{type: sshd, name: sshd, destination: /var/lib/postern-sshd, sshd: {{reload: {more}}}}}\n"
                ),
            )
        };
        let text = of("{systemd_reload: ssh.service}");
        for line in [
            "After=network-online.target ssh.service\n",
            "User=root\n",
            "StateDirectory=teleport/bot postern-sshd\n",
            "ReadWritePaths=/etc/ssh/sshd_config.d\n",
            "ProtectProc=invisible\n",
            "CapabilityBoundingSet=\n",
            "PrivateUsers=yes\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
        assert_eq!(text.matches("ReadWritePaths").count(), 1, "{text}");
        let text = of("{pid_file: /run/sshd.pid}");
        for line in ["ProtectProc=noaccess\n", "CapabilityBoundingSet=\n", "After=network-online.target\n"] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
        // Who else is signalled, or reads, is somebody else.
        for more in [
            "outputs: [{type: identity, destination: /opt/a}]\n",
            "outputs: [{type: ssh_host, principals: [x], destination: /opt/a, on_renew: [{pid_file: /run/x.pid}]}]\n",
        ] {
            let text = of(&format!("{{systemd_reload: ssh.service}}}}}}\n{more}#"));
            assert!(!text.contains("PrivateUsers"), "{text}");
            assert_eq!(text.contains("CAP_KILL"), more.contains("pid_file"), "{text}");
        }
    }

    #[test]
    fn what_hooks_need_is_left_open() {
        let text = unit(
            "storage: /srv/tbot\noutputs: [{type: identity, destination: /home/ci/id, on_renew: [{pid_file: /run/x.pid}]}]\n",
        );
        for line in [
            "ReadWritePaths=/srv/tbot",
            "ReadWritePaths=/home/ci/id",
            "ProtectHome=read-only",
            "AmbientCapabilities=CAP_KILL",
            "ProtectProc=noaccess",
        ] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
        assert!(!text.contains("StateDirectory"), "{text}");
    }

    #[test]
    fn what_joining_needs_is_left_open() {
        let joining = |more: &str| unit(&format!("onboarding: {{token: x, {more}}}\n"));
        assert!(joining("join_method: token").contains("PrivateDevices=yes\n"));
        // A device that everybody knows and that is of root's group here.
        let text = joining("join_method: tpm, tpm: {device: /dev/null}");
        for line in ["PrivateDevices=no\n", "DevicePolicy=closed\n", "DeviceAllow=/dev/null rw\n"] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
        assert!(!text.contains("SupplementaryGroups"), "{text}");
        let device = tempfile::NamedTempFile::new().expect("a file");
        if std::os::unix::fs::chown(device.path(), None, Some(123)).is_ok() {
            let text = joining(&format!("join_method: tpm, tpm: {{device: {}}}", device.path().display()));
            assert!(text.contains("SupplementaryGroups=123\n"), "{text}");
        }
        let text = joining("join_method: tpm, tpm: {device: 'unix:/home/ci/tpm'}");
        assert!(text.contains("PrivateDevices=yes\n") && text.contains("ProtectHome=read-only"), "{text}");
        let text = joining("join_method: bound_keypair, bound_keypair: {registration_secret: /root/secret}");
        assert!(text.contains("ProtectHome=read-only"), "{text}");
        let odd = "onboarding: {join_method: tpm, token: x, tpm: {device: \"/dev/a\\nb\"}}\n";
        assert!(rendered("/etc/tbot.yaml", odd, None).expect_err("refused").contains("more than a path"));
    }
}
