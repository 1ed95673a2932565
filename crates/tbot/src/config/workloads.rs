//! What an output or service is, from the file to what is to be done; for workloads, which ones and for whom.

use super::file::{self, OutputKind};
use super::{Content, sshd};
use access::SpiffePath;
use access::spiffe::{self, DnsName};
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use transport::rpc::UnixPeer;
use yaml::Report;

/// The file of `workload-identity-jwt` (fact sheet, section 3.6).
const JWT_SVID: &str = "jwt_svid";
/// The most workloads of one service, which auth answers in one call.
const MOST: usize = 32;
/// A socket's address has room for this many bytes.
const LONGEST_SOCKET: usize = 107;
const LONGEST_HINT: usize = 1024;

/// A workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    /// The path of its SPIFFE ID.
    pub path: SpiffePath,
    /// Tells it from others of the same process; may be empty.
    pub hint: String,
    /// Names beside the ID.
    pub dns: Vec<DnsName>,
    /// Addresses beside the ID.
    pub addresses: Vec<IpAddr>,
}

/// Files for a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvidFiles {
    /// Which.
    pub svid: Svid,
    /// Whether there is an X.509-SVID.
    pub x509: bool,
    /// JWT-SVIDs.
    pub jwts: Vec<JwtFile>,
}

/// A JWT-SVID in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtFile {
    /// For whom it is.
    pub audience: Vec<String>,
    /// The file's name.
    pub file_name: String,
}

/// A socket for workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadApi {
    /// Where it is.
    pub listen: PathBuf,
    /// Which workloads there are.
    pub svids: Vec<Served>,
}

/// A workload, and which processes it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The workload.
    pub svid: Svid,
    /// Any of these; none for every process.
    pub rules: Vec<UnixRule>,
}

/// Which processes: all that is given fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnixRule {
    /// The user.
    pub uid: Option<u32>,
    /// The effective primary group.
    pub gid: Option<u32>,
    /// The process.
    pub pid: Option<u32>,
}

impl Served {
    /// Whether a process is this workload.
    pub fn is(&self, peer: &UnixPeer) -> bool {
        self.rules.is_empty() || self.rules.iter().any(|rule| rule.fits(peer))
    }
}

impl UnixRule {
    fn fits(&self, peer: &UnixPeer) -> bool {
        self.uid.is_none_or(|uid| uid == peer.uid)
            && self.gid.is_none_or(|gid| gid == peer.gid)
            && self.pid.is_none_or(|pid| Some(pid) == peer.pid)
    }
}

/// What the entry at `key` is, or mistakes.
pub(super) fn content(key: &str, file: &file::Output, report: &mut Report<'_>) -> Option<Content> {
    use OutputKind::{
        Identity, SpiffeSvid, SpiffeWorkloadApi, SshHost, Sshd, WorkloadIdentityApi, WorkloadIdentityJwt,
        WorkloadIdentityX509,
    };
    let x509: &[OutputKind] = &[SpiffeSvid, WorkloadIdentityX509];
    let svid: &[OutputKind] = &[SpiffeSvid, WorkloadIdentityX509, WorkloadIdentityJwt];
    let api: &[OutputKind] = &[SpiffeWorkloadApi, WorkloadIdentityApi];
    let written: &[OutputKind] =
        &[Identity, SpiffeSvid, WorkloadIdentityX509, WorkloadIdentityJwt, SshHost, Sshd];
    let mut misplaced = false;
    for (field, given, kinds) in [
        ("cluster", file.cluster.is_some(), &[Identity][..]),
        ("ssh_config", file.ssh_config.is_some(), &[Identity]),
        ("principals", !file.principals.is_empty(), &[SshHost, Sshd]),
        ("sshd", file.sshd.is_some(), &[Sshd]),
        ("svid", file.svid.is_some(), svid),
        ("jwts", !file.jwts.is_empty(), x509),
        ("audiences", !file.audiences.is_empty(), &[WorkloadIdentityJwt]),
        ("listen", file.listen.is_some(), api),
        ("svids", !file.svids.is_empty(), api),
        ("destination", file.destination.is_some(), written),
        ("on_renew", !file.on_renew.is_empty(), written),
    ] {
        if given && !kinds.contains(&file.kind) {
            let text = format!("does not belong to type: {}; remove it", file.kind.as_str());
            report.mistake(format!("{key}.{field}").as_str(), text);
            misplaced = true;
        }
    }
    let content = match file.kind {
        SshHost | Sshd => sshd::content(key, file, report),
        Identity => {
            let cluster = file.cluster.as_ref().filter(|cluster| !cluster.is_empty());
            let at = format!("{key}.cluster");
            let cluster = match cluster {
                Some(cluster) => Some(report.take(at.as_str(), cluster.parse())?),
                None => None,
            };
            Some(Content::Identity { cluster, ssh_config: file.ssh_config != Some(file::SshConfig::Off) })
        }
        SpiffeSvid | WorkloadIdentityX509 => {
            let (svid, jwts) = (own_svid(key, file, report), jwts(key, &file.jwts, report));
            Some(Content::Svid(SvidFiles { svid: svid?, x509: true, jwts: jwts? }))
        }
        WorkloadIdentityJwt => {
            let svid = own_svid(key, file, report);
            if file.audiences.is_empty() || file.audiences.iter().any(String::is_empty) {
                let text = "say for whom it is: one or more names, none of them empty";
                report.mistake(format!("{key}.audiences").as_str(), text);
                return None;
            }
            let jwt = JwtFile { audience: file.audiences.clone(), file_name: JWT_SVID.to_owned() };
            Some(Content::Svid(SvidFiles { svid: svid?, x509: false, jwts: vec![jwt] }))
        }
        SpiffeWorkloadApi | WorkloadIdentityApi => {
            let (listen, svids) =
                (listen(key, file.listen.as_deref(), report), served(key, &file.svids, report));
            Some(Content::WorkloadApi(WorkloadApi { listen: listen?, svids: svids? }))
        }
    };
    content.filter(|_| !misplaced)
}

fn own_svid(key: &str, file: &file::Output, report: &mut Report<'_>) -> Option<Svid> {
    match &file.svid {
        Some(file) => svid(&format!("{key}.svid"), (&file.path, &file.hint, &file.sans), report),
        None => {
            report.mistake(
                format!("{key}.svid").as_str(),
                "missing; name the workload: svid: {path: /svc/NAME}",
            );
            None
        }
    }
}

type SvidParts<'a> = (&'a str, &'a Option<String>, &'a Option<file::Sans>);

fn svid(key: &str, (path, hint, sans): SvidParts<'_>, report: &mut Report<'_>) -> Option<Svid> {
    let path = report.take(format!("{key}.path").as_str(), path.parse::<SpiffePath>());
    let hint = hint.clone().unwrap_or_default();
    if hint.len() > LONGEST_HINT {
        report.mistake(format!("{key}.hint").as_str(), format!("has more than {LONGEST_HINT} bytes"));
        return None;
    }
    let sans = sans.clone().unwrap_or_default();
    report.take(format!("{key}.sans").as_str(), spiffe::bounded(&sans.dns, &sans.ip))?;
    let (mut dns, mut addresses) = (Vec::new(), Vec::new());
    for (nth, name) in sans.dns.iter().enumerate() {
        dns.push(report.take(format!("{key}.sans.dns[{nth}]").as_str(), name.parse::<DnsName>()));
    }
    for (nth, text) in sans.ip.iter().enumerate() {
        addresses.push(report.take(format!("{key}.sans.ip[{nth}]").as_str(), spiffe::address(text)));
    }
    let (dns, addresses) =
        (dns.into_iter().collect::<Option<_>>(), addresses.into_iter().collect::<Option<_>>());
    Some(Svid { path: path?, hint, dns: dns?, addresses: addresses? })
}

fn jwts(key: &str, files: &[file::Jwt], report: &mut Report<'_>) -> Option<Vec<JwtFile>> {
    let mut taken: HashSet<&str> = HashSet::from(["svid.pem", "svid_key.pem", "svid_bundle.pem"]);
    let mut all = Vec::with_capacity(files.len());
    for (nth, file) in files.iter().enumerate() {
        let name = file.file_name.as_str();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let at = format!("{key}.jwts[{nth}]");
        if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.chars().all(plain) {
            let text = "is the name of no file: letters, digits, '-', '_' and '.', and not '.' first";
            report.mistake(format!("{at}.file_name").as_str(), text);
            return None;
        }
        if !taken.insert(name) {
            report.mistake(
                format!("{at}.file_name").as_str(),
                format!("{name} is another file's name already"),
            );
            return None;
        }
        if file.audience.is_empty() {
            report.mistake(format!("{at}.audience").as_str(), "is empty; say for whom it is");
            return None;
        }
        all.push(JwtFile { audience: vec![file.audience.clone()], file_name: name.to_owned() });
    }
    Some(all)
}

fn listen(key: &str, text: Option<&str>, report: &mut Report<'_>) -> Option<PathBuf> {
    let key = format!("{key}.listen");
    let wrong = match text {
        None => "missing; write the path of a socket: unix:///run/tbot/workload.sock".to_owned(),
        Some(text) if text.starts_with("tcp:") => {
            "over TCP nobody can tell which process asks; write unix:///path".to_owned()
        }
        Some(text) => match socket_path(text) {
            Ok(path) => return Some(path),
            Err(wrong) => wrong,
        },
    };
    report.mistake(key.as_str(), wrong);
    None
}

/// The path in `unix:///path`.
pub fn socket_path(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:"));
    match path.filter(|path| path.starts_with('/') && path.len() <= LONGEST_SOCKET) {
        Some(path) if !path.contains(char::is_control) && Path::new(path).file_name().is_some() => {
            Ok(PathBuf::from(path))
        }
        _ => Err(format!("{text:?} is no socket; write unix:///path, of at most {LONGEST_SOCKET} bytes")),
    }
}

fn served(key: &str, files: &[file::ServedSvid], report: &mut Report<'_>) -> Option<Vec<Served>> {
    if files.is_empty() || files.len() > MOST {
        let text = format!("name 1 to {MOST} workloads: svids: [{{path: /svc/NAME}}]");
        report.mistake(format!("{key}.svids").as_str(), text);
        return None;
    }
    let one = |(nth, file): (usize, &file::ServedSvid)| {
        let key = format!("{key}.svids[{nth}]");
        let svid = svid(&key, (&file.path, &file.hint, &file.sans), report);
        let mut rules = Vec::with_capacity(file.rules.len());
        for (nth, file::WorkloadRule { unix: file::UnixRule { uid, gid, pid } }) in
            file.rules.iter().enumerate()
        {
            if uid.is_none() && gid.is_none() && pid.is_none() {
                let text = "says nothing; give uid, gid or pid, or no rules for every process";
                report.mistake(format!("{key}.rules[{nth}].unix").as_str(), text);
                return None;
            }
            if uid.is_none() && pid.is_some() {
                let text = "pid is given without uid; give uid too: the number of a process that ends is given to another, of any user";
                report.mistake(format!("{key}.rules[{nth}].unix").as_str(), text);
                return None;
            }
            rules.push(UnixRule { uid: *uid, gid: *gid, pid: *pid });
        }
        Some(Served { svid: svid?, rules })
    };
    let all: Vec<Option<Served>> = files.iter().enumerate().map(one).collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{Served, Svid, UnixPeer, UnixRule};

    #[test]
    fn any_rule_is_enough_and_all_of_it_must_fit() {
        let rule = |uid, gid, pid| UnixRule { uid, gid, pid };
        let served = |rules: &[UnixRule]| {
            let path = "/a".parse().expect("a path");
            let svid = Svid { path, hint: String::new(), dns: vec![], addresses: vec![] };
            Served { svid, rules: rules.to_vec() }
        };
        let peer = |uid, gid, pid| UnixPeer { uid, gid, pid };
        let some = Some(7);
        for (rules, peer, expected) in [
            (&[][..], peer(1, 2, None), true),
            (&[rule(Some(1), None, None)], peer(1, 2, some), true),
            (&[rule(Some(0), None, None)], peer(1, 2, some), false),
            (&[rule(Some(1), Some(2), some)], peer(1, 2, some), true),
            (&[rule(Some(1), Some(3), None)], peer(1, 2, some), false),
            (&[rule(Some(1), None, some)], peer(1, 2, None), false),
            (&[rule(Some(5), None, None), rule(None, Some(2), None)], peer(1, 2, some), true),
        ] {
            assert_eq!(served(rules).is(&peer), expected, "{rules:?} {peer:?}");
        }
    }
}
