//! System calls that a daemon on the network has no use for, and whoever took it over would: refused with `EPERM`.
//!
//! A list of what is denied, not of what is allowed: libraries and kernels bring new calls for old work, and a daemon that
//! dies of an update of its C library helps nobody. What the list is for is the way from a fault in the daemon to a fault in
//! the kernel, or to other processes of the same user.

use std::collections::BTreeMap;

use rustix::io::Errno;
#[cfg(target_arch = "x86_64")]
use seccompiler::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Other processes and what they share, other namespaces, the kernel itself, other users, other roots, time and names of the
/// machine. And what files are beside their content, which Landlock does not look at: with it a daemon could open the files
/// of another one of its user. The daemon gives a mode where it makes a file.
const DENIED: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_mknodat,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    QUOTACTL_FD,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_lookup_dcookie,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify,
    libc::SYS_mq_getsetattr,
];

/// Newer than the libc crate is about some of them; the same numbers on every architecture.
const QUOTACTL_FD: libc::c_long = 443;
const FCHMODAT2: libc::c_long = 452;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const OPEN_TREE_ATTR: libc::c_long = 467;
const FILE_SETATTR: libc::c_long = 469;

/// The same by names that only this architecture has.
#[cfg(target_arch = "x86_64")]
const OF_THIS_ARCHITECTURE: &[libc::c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_mknod,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_ARCHITECTURE: &[libc::c_long] = &[];

/// Starting programs.
const PROGRAMS: &[libc::c_long] = &[libc::SYS_execve, libc::SYS_execveat];

/// Families of sockets that are of use; the others are rarely used code of the kernel.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Transport protocols that the daemon does not speak, and that Landlock does not know: SCTP, UDP-Lite, SMC, and TCP over
/// several paths.
const PROTOCOLS: [u64; 4] = [132, 136, 256, 262];

/// What makes a new process one in other namespaces (mount, cgroup, uts, ipc, user, pid, net).
const NEW_NAMESPACES: [u64; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

/// The filters, to be installed in this order. `programs` says whether others may be started.
pub(super) fn filters(programs: bool) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    // Its flags are in memory, where no filter can look. The C library then takes `clone`, whose flags are in a register.
    let clone3 = filter(BTreeMap::from([(libc::SYS_clone3, vec![])]), Errno::NOSYS)?;
    let mut filters = vec![filter(denied(programs)?, Errno::PERM)?, clone3];
    #[cfg(target_arch = "x86_64")]
    filters.push(second_convention());
    Ok(filters)
}

/// The filter for when every port is served.
pub(super) fn no_more_listeners() -> Result<BpfProgram, seccompiler::BackendError> {
    filter(BTreeMap::from([(libc::SYS_listen, vec![])]), Errno::PERM)
}

fn filter(rules: Rules, errno: Errno) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let action = SeccompAction::Errno(errno.raw_os_error().unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()
}

/// All calls by the numbers of this architecture's second calling convention (x32), which would lead around the list. A list
/// of numbers cannot say that, so it is written in the filter's own language, see seccomp(2).
#[cfg(target_arch = "x86_64")]
fn second_convention() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    const LOAD: u16 = 0x20;
    const IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const PERM: u32 = 0x0005_0001;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD, 0, 0, 0),
        step(IF_AT_LEAST, 0, 1, X32),
        step(RETURN, 0, 0, PERM),
        step(RETURN, 0, 0, ALLOW),
    ]
}

/// Programs that ask the kernel about its network cannot do without, and neither can musl, to resolve a name.
const fn may_not_bind(programs: bool) -> bool {
    !programs && !cfg!(target_env = "musl")
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn denied(programs: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DENIED.iter().chain(OF_THIS_ARCHITECTURE).map(|call| (*call, vec![])).collect();
    if !programs {
        rules.extend(PROGRAMS.iter().map(|call| (*call, vec![])));
    }
    if may_not_bind(programs) {
        rules.insert(libc::SYS_bind, vec![]);
    }
    let is =
        |argument, operator, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    let namespaces = NEW_NAMESPACES.map(|flag| {
        let asked_for = is(0, SeccompCmpOp::MaskedEq(flag), flag)?;
        SeccompRule::new(vec![asked_for])
    });
    rules.insert(libc::SYS_clone, namespaces.into_iter().collect::<Result<_, _>>()?);
    let other = FAMILIES.map(|family| is(0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs())));
    let other = SeccompRule::new(other.into_iter().collect::<Result<_, _>>()?)?;
    let protocols = PROTOCOLS.map(|protocol| SeccompRule::new(vec![is(2, SeccompCmpOp::Eq, protocol)?]));
    let mut sockets = protocols.into_iter().collect::<Result<Vec<_>, _>>()?;
    sockets.push(other);
    rules.insert(libc::SYS_socket, sockets);
    // Typing into somebody's terminal.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX]
        .map(|request| SeccompRule::new(vec![is(1, SeccompCmpOp::Eq, request)?]));
    rules.insert(libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::{PROGRAMS, denied, filters};

    #[test]
    fn filters_are_made_with_and_without_programs() {
        for programs in [true, false] {
            let rules = denied(programs).expect("rules");
            assert!(PROGRAMS.iter().all(|call| rules.contains_key(call) != programs));
            for filter in filters(programs).expect("filters") {
                assert!(filter.len() < 4096, "more than the kernel takes");
            }
        }
    }

    #[test]
    fn what_every_program_does_is_not_on_the_list() {
        let rules = denied(false).expect("rules");
        for call in
            [libc::SYS_read, libc::SYS_openat, libc::SYS_futex, libc::SYS_accept4, libc::SYS_exit_group]
        {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }
}
