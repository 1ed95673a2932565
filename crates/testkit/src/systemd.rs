//! The real systemd as the first process of namespaces of its own, and the real `systemctl` that talks to it. What it could change
//! on this machine is read-only or a copy: it runs units, and no more.

use crate::process::{Outcome, Process, run};
use crate::programs::{command, root, theirs};
use crate::wait::{DEADLINE, until};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const PROGRAM: &str = "/lib/systemd/systemd";

/// What units need that say nothing of dependencies.
const TARGETS: [&str; 4] = ["sysinit", "basic", "multi-user", "shutdown"];

/// The first process sets its namespaces up: nothing of the machine is written to but `$1`, which appears at `/etc/ssh` if it has an
/// `etc-ssh`; `/run`, `/tmp` and `/var/lib` are empty; control groups begin at its own.
const SET_UP: &str = r#"set -e
mount --bind "$1" "$1"
# What is mounted below them would be hidden, and would confuse whoever makes all mounts read-only.
for below in $(awk '$5 ~ "^/(run|tmp|var/tmp|var/lib)(/|$)" {print $5}' /proc/self/mountinfo | sort -r); do umount -l "$below"; done
for empty in /run /tmp /var/tmp /var/lib; do mount -t tmpfs tmpfs "$empty"; done
test ! -d "$1/etc-ssh" || mount --bind "$1/etc-ssh" /etc/ssh
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /
umount -R -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i PATH="$PATH" container=postern-test SYSTEMD_UNIT_PATH="$1/units" \
    /lib/systemd/systemd --system --log-target=null --show-status=no --unit=multi-user.target
"#;

const NAMESPACES: [&str; 8] =
    ["--mount", "--pid", "--fork", "--ipc", "--uts", "--cgroup", "--mount-proc", "--kill-child=KILL"];

/// A running systemd; it and everything that it started end when this is dropped.
pub struct Systemd {
    process: Process,
    first: u32,
    group: Group,
    units: PathBuf,
}

impl Systemd {
    /// Starts it, with the units in `<scratch>/units` (which is not below `/tmp`) and those that are [added](Self::unit); nothing, visibly, where namespaces
    /// or control groups cannot be had.
    pub fn boot(scratch: &Path) -> Option<Self> {
        theirs("systemctl")?;
        if !root() {
            return None;
        }
        let units = scratch.join("units");
        std::fs::create_dir_all(&units).expect("made");
        for target in TARGETS {
            let text = "[Unit]\nDefaultDependencies=no\n";
            std::fs::write(units.join(format!("{target}.target")), text).expect("written");
        }
        // Where a journal would be. It is also what the process itself writes to.
        let log = format!("[Service]\nStandardOutput=append:{}\n", scratch.join("systemd.log").display());
        std::fs::create_dir_all(units.join("service.d")).expect("made");
        std::fs::write(units.join("service.d/log.conf"), log).expect("written");
        let Some(group) = Group::make().filter(|group| group.takes_namespaces()) else {
            eprintln!(
                "SKIPPED: {PROGRAM} needs control groups (v2) and namespaces, which cannot be had here"
            );
            return None;
        };
        let process =
            Process::start("systemd", scratch, group.enter().args(["sh", "-c", SET_UP, "sh"]).arg(scratch));
        let first = until("the first process", || child_of(process.pid()));
        let mut systemd = Self { process, first, group, units };
        until("systemd to run", || {
            systemd.process.assert_running();
            let state = systemd.systemctl(&["is-system-running"]).stdout;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        Some(systemd)
    }

    /// Adds a unit, or replaces it.
    pub fn unit(&self, name: &str, text: &str) {
        std::fs::write(self.units.join(name), text).expect("written");
        self.systemctl(&["daemon-reload"]).ok();
    }

    /// Where units are.
    pub fn units(&self) -> &Path {
        &self.units
    }

    /// A program where systemd is.
    pub fn inside(&self, program: impl AsRef<Path>) -> Command {
        let mut inside = command("nsenter");
        inside.arg("--target").arg(self.first.to_string());
        inside.args(["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--"]).arg(program.as_ref());
        inside
    }

    /// `systemctl <arguments>`.
    pub fn systemctl(&self, arguments: &[&str]) -> Outcome {
        run(self.inside("systemctl").arg("--no-pager").args(arguments))
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "-p", name, unit]).ok().trim().to_owned()
    }

    /// What its units have said.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.process.kill();
        self.group.remove();
    }
}

/// A control group of its own.
struct Group(PathBuf);

impl Group {
    fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        // The fifth word is where it is mounted; what is mounted is behind the dash.
        let of_groups = |line: &&str| line.contains(" - cgroup2 ");
        let at = mounts.lines().find(of_groups)?.split(' ').nth(4)?;
        let group = Path::new(at).join(format!("postern-test-{}", std::process::id()));
        std::fs::create_dir_all(&group).ok()?;
        Some(Self(group))
    }

    /// A command that goes into it, and into namespaces.
    fn enter(&self) -> Command {
        let mut enter = command("sh");
        enter
            .args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec unshare \"$@\""])
            .arg(&self.0)
            .args(NAMESPACES);
        enter
    }

    fn takes_namespaces(&self) -> bool {
        let mount = "umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup";
        run(self.enter().args(["sh", "-c", mount])).status.success()
    }

    /// Those below it first; each is empty once the last process has ended.
    fn remove(&self) {
        let start = Instant::now();
        while remove_tree(&self.0).is_err() && start.elapsed() < DEADLINE {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}

fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
