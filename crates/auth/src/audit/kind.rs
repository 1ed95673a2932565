//! The kinds of events: a name, a stable code, and who may report it.
//!
//! Names and codes are those that existing log pipelines know (reference sheet on server access,
//! section 8). Codes that begin with `P` are ours, for what that list has no word for. A code
//! that has shipped never changes its meaning.

/// What happened, as log pipelines match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// The name, for example `session.start`.
    pub event: &'static str,
    /// The code; its last letter is I (information), W (warning) or E (error).
    pub code: &'static str,
    /// Who may report it.
    pub origin: Origin,
}

/// Who may report an event of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Auth alone: a host that was broken into cannot make up that somebody was enrolled.
    Auth,
    /// Auth, and the nodes and proxies where it happens.
    Host,
}

/// The kind with this name and code.
pub fn find(event: &str, code: &str) -> Option<Kind> {
    ALL.iter().copied().find(|kind| kind.event == event && kind.code == code)
}

macro_rules! kinds {
    ($($origin:ident { $($(#[doc = $doc:literal])+ $name:ident = $event:literal $code:literal;)+ })+) => {
        $($(
            $(#[doc = $doc])+
            pub const $name: Kind = Kind { event: $event, code: $code, origin: Origin::$origin };
        )+)+

        /// Every kind there is.
        pub const ALL: &[Kind] = &[$($($name,)+)+];
    };
}

kinds! {
    Auth {
        /// A person logged in.
        USER_LOGIN = "user.login" "T1000I";
        /// A person could not log in.
        USER_LOGIN_FAILED = "user.login" "T1000W";
        /// A person logged in through single sign-on.
        USER_SSO_LOGIN = "user.login" "T1001I";
        /// A person could not log in through single sign-on.
        USER_SSO_LOGIN_FAILED = "user.login" "T1001W";
        /// A user was made.
        USER_CREATE = "user.create" "T1002I";
        /// A user was changed.
        USER_UPDATE = "user.update" "T1003I";
        /// A user was removed.
        USER_DELETE = "user.delete" "T1004I";
        /// A user's password was changed.
        USER_PASSWORD_CHANGE = "user.password_change" "T1005I";
        /// A second factor was enrolled.
        MFA_ADD = "mfa.add" "T1006I";
        /// A second factor was removed.
        MFA_DELETE = "mfa.delete" "T1007I";
        /// A link to set a password was made.
        RESET_PASSWORD_TOKEN_CREATE = "reset_password_token.create" "T6000I";
        /// A recording was played.
        SESSION_RECORDING_ACCESS = "session.recording.access" "T2012I";
        /// An access request was made.
        ACCESS_REQUEST_CREATE = "access_request.create" "T5000I";
        /// An access request changed its state.
        ACCESS_REQUEST_UPDATE = "access_request.update" "T5001I";
        /// An access request was reviewed.
        ACCESS_REQUEST_REVIEW = "access_request.review" "T5002I";
        /// An access request was removed.
        ACCESS_REQUEST_DELETE = "access_request.delete" "T5003I";
        /// Somebody looked for what could be requested.
        ACCESS_REQUEST_SEARCH = "access_request.search" "T5004I";
        /// An access request expired.
        ACCESS_REQUEST_EXPIRE = "access_request.expire" "T5005I";
        /// A trusted cluster was added.
        TRUSTED_CLUSTER_CREATE = "trusted_cluster.create" "T7000I";
        /// A trusted cluster was removed.
        TRUSTED_CLUSTER_DELETE = "trusted_cluster.delete" "T7001I";
        /// A token for a trusted cluster was made.
        TRUSTED_CLUSTER_TOKEN_CREATE = "trusted_cluster_token.create" "T7002I";
        /// A GitHub connector was made.
        GITHUB_CREATED = "github.created" "T8000I";
        /// A role was made.
        ROLE_CREATED = "role.created" "T9000I";
        /// A role was removed.
        ROLE_DELETED = "role.deleted" "T9001I";
        /// A role was changed.
        ROLE_UPDATED = "role.updated" "T9002I";
        /// A join token was made.
        JOIN_TOKEN_CREATE = "join_token.create" "TJT00I";
        /// A bot joined.
        BOT_JOIN = "bot.join" "TJ001I";
        /// A bot could not join.
        BOT_JOIN_FAILED = "bot.join" "TJ001E";
        /// A node or proxy joined.
        INSTANCE_JOIN = "instance.join" "TJ002I";
        /// A node or proxy could not join.
        INSTANCE_JOIN_FAILED = "instance.join" "TJ002E";
        /// A bot was made.
        BOT_CREATE = "bot.create" "TB001I";
        /// A bot was changed.
        BOT_UPDATE = "bot.update" "TB002I";
        /// A bot was removed.
        BOT_DELETE = "bot.delete" "TB003I";
        /// What an agent does after a renewal was done.
        BOT_HOOK = "bot.hook" "TB004I";
        /// What an agent does after a renewal went wrong.
        BOT_HOOK_FAILED = "bot.hook" "TB004E";
        /// A lock came into force.
        LOCK_CREATED = "lock.created" "TLK00I";
        /// A lock was lifted.
        LOCK_DELETED = "lock.deleted" "TLK01I";
        /// A certificate was issued.
        CERT_CREATE = "cert.create" "TC000I";
        /// A workload was given a document that says who it is.
        SPIFFE_SVID_ISSUED = "spiffe.svid.issued" "TSPIFFE000I";
        /// A workload was refused one.
        SPIFFE_SVID_DENIED = "spiffe.svid.issued" "TSPIFFE000E";
        /// A renewal came from a credential that was renewed before: somebody has a copy.
        CERT_GENERATION_MISMATCH = "cert.generation_mismatch" "TCB00W";
        /// The settings of authentication were changed.
        AUTH_PREFERENCE_UPDATE = "auth_preference.update" "TCAUTH001I";
        /// The settings of the network were changed.
        NETWORKING_CONFIG_UPDATE = "cluster_networking_config.update" "TCNET002I";
        /// The settings of recording were changed.
        RECORDING_CONFIG_UPDATE = "session_recording_config.update" "TCREC003I";
        /// The cluster came into being.
        CLUSTER_CREATE = "cluster.create" "PA000I";
        /// A call was refused.
        ACCESS_DENIED = "access.denied" "PA003W";
        /// A certificate was refused.
        CERT_DENIED = "cert.denied" "PA004W";
        /// A join token was changed.
        JOIN_TOKEN_UPDATE = "join_token.update" "PA005I";
        /// A join token was removed.
        JOIN_TOKEN_DELETE = "join_token.delete" "PA006I";
        /// A node was removed from the inventory.
        NODE_DELETE = "node.delete" "PA007I";
        /// A bot's instance was removed.
        BOT_INSTANCE_DELETE = "bot_instance.delete" "PA008I";
        /// A certificate authority was changed.
        CERT_AUTHORITY_UPDATE = "cert_authority.update" "PA009I";
    }
    Host {
        /// A service came up.
        SERVICE_START = "service.start" "PA001I";
        /// A service went down in good order.
        SERVICE_STOP = "service.stop" "PA002I";
        /// Somebody was refused by a node or proxy.
        AUTH_FAILED = "auth" "T3007W";
        /// A session was refused because there are too many.
        SESSION_REJECTED = "session.rejected" "T1006W";
        /// A session began.
        SESSION_START = "session.start" "T2000I";
        /// Somebody joined a session.
        SESSION_JOIN = "session.join" "T2001I";
        /// A session's terminal changed its size.
        SESSION_RESIZE = "resize" "T2002I";
        /// Somebody left a session.
        SESSION_LEAVE = "session.leave" "T2003I";
        /// A session ended.
        SESSION_END = "session.end" "T2004I";
        /// A session's recording was uploaded.
        SESSION_UPLOAD = "session.upload" "T2005I";
        /// How much a session sent and received.
        SESSION_DATA = "session.data" "T2006I";
        /// A proxy connected somebody to a server that is not ours.
        SESSION_CONNECT = "session.connect" "T2010I";
        /// A subsystem ran.
        SUBSYSTEM = "subsystem" "T3001I";
        /// A subsystem failed.
        SUBSYSTEM_FAILED = "subsystem" "T3001E";
        /// A command ran.
        EXEC = "exec" "T3002I";
        /// A command failed.
        EXEC_FAILED = "exec" "T3002E";
        /// A port was forwarded.
        PORT = "port" "T3003I";
        /// A port could not be forwarded.
        PORT_FAILED = "port" "T3003E";
        /// A forwarding ended.
        PORT_STOP = "port" "T3003S";
        /// A file was downloaded with scp.
        SCP_DOWNLOAD = "scp" "T3004I";
        /// A file could not be downloaded with scp.
        SCP_DOWNLOAD_FAILED = "scp" "T3004E";
        /// A file was uploaded with scp.
        SCP_UPLOAD = "scp" "T3005I";
        /// A file could not be uploaded with scp.
        SCP_UPLOAD_FAILED = "scp" "T3005E";
        /// Copying was refused.
        SCP_DISALLOWED = "scp" "T3010E";
        /// A client was cut off.
        CLIENT_DISCONNECT = "client.disconnect" "T3006I";
        /// X11 was forwarded.
        X11_FORWARD = "x11-forward" "T3008I";
        /// X11 could not be forwarded.
        X11_FORWARD_FAILED = "x11-forward" "T3008W";
        /// An agent was forwarded.
        AGENT_FORWARD = "agent-forward" "PA010I";
        /// An agent could not be forwarded.
        AGENT_FORWARD_FAILED = "agent-forward" "PA010W";
        /// A program ran inside a session.
        SESSION_COMMAND = "session.command" "T4000I";
        /// A file was opened inside a session.
        SESSION_DISK = "session.disk" "T4001I";
        /// A connection was made inside a session.
        SESSION_NETWORK = "session.network" "T4002I";
        /// A file was opened.
        SFTP_OPEN = "sftp" "TS001I";
        /// A file could not be opened.
        SFTP_OPEN_FAILED = "sftp" "TS001E";
        /// A file's attributes were set.
        SFTP_SETSTAT = "sftp" "TS007I";
        /// A file's attributes could not be set.
        SFTP_SETSTAT_FAILED = "sftp" "TS007E";
        /// A directory was opened.
        SFTP_OPENDIR = "sftp" "TS009I";
        /// A directory could not be opened.
        SFTP_OPENDIR_FAILED = "sftp" "TS009E";
        /// A directory was read.
        SFTP_READDIR = "sftp" "TS010I";
        /// A directory could not be read.
        SFTP_READDIR_FAILED = "sftp" "TS010E";
        /// A file was removed.
        SFTP_REMOVE = "sftp" "TS011I";
        /// A file could not be removed.
        SFTP_REMOVE_FAILED = "sftp" "TS011E";
        /// A directory was made.
        SFTP_MKDIR = "sftp" "TS012I";
        /// A directory could not be made.
        SFTP_MKDIR_FAILED = "sftp" "TS012E";
        /// A directory was removed.
        SFTP_RMDIR = "sftp" "TS013I";
        /// A directory could not be removed.
        SFTP_RMDIR_FAILED = "sftp" "TS013E";
        /// A file was renamed.
        SFTP_RENAME = "sftp" "TS016I";
        /// A file could not be renamed.
        SFTP_RENAME_FAILED = "sftp" "TS016E";
        /// A symbolic link was made.
        SFTP_SYMLINK = "sftp" "TS018I";
        /// A symbolic link could not be made.
        SFTP_SYMLINK_FAILED = "sftp" "TS018E";
        /// A hard link was made.
        SFTP_LINK = "sftp" "TS019I";
        /// A hard link could not be made.
        SFTP_LINK_FAILED = "sftp" "TS019E";
        /// File transfer was refused.
        SFTP_DISALLOWED = "sftp" "TS020E";
        /// What was transferred in one session, in sum.
        SFTP_SUMMARY = "sftp_summary" "TS021I";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_code_has_one_meaning() {
        let codes: HashSet<&str> = ALL.iter().map(|kind| kind.code).collect();
        assert_eq!(codes.len(), ALL.len());
        for kind in ALL {
            assert_eq!(find(kind.event, kind.code), Some(*kind));
            assert!(
                kind.code.starts_with(['T', 'P']) && kind.code.ends_with(['I', 'W', 'E', 'S']),
                "{kind:?}"
            );
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
            assert!(kind.event.chars().all(plain), "{kind:?}");
        }
        assert_eq!(find("session.start", "T2004I"), None);
    }

    /// What pipelines out there match on.
    #[test]
    fn the_codes_of_the_sheet_stand() {
        let table = [
            (USER_LOGIN, "user.login", "T1000I"),
            (SESSION_START, "session.start", "T2000I"),
            (SESSION_END, "session.end", "T2004I"),
            (EXEC_FAILED, "exec", "T3002E"),
            (AUTH_FAILED, "auth", "T3007W"),
            (BOT_JOIN, "bot.join", "TJ001I"),
            (CERT_CREATE, "cert.create", "TC000I"),
            (LOCK_CREATED, "lock.created", "TLK00I"),
            (CERT_GENERATION_MISMATCH, "cert.generation_mismatch", "TCB00W"),
        ];
        for (kind, event, code) in table {
            assert_eq!((kind.event, kind.code), (event, code));
        }
    }
}
