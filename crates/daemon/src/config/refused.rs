//! Keys of existing files that Postern does not act on, each with what to do instead.
//!
//! When one of them is built, its line goes and its field comes to [`super::file`].

use yaml::{Refusal, Refusals, refuse};

pub(super) static REFUSED: Refusals = Refusals::new(TABLE);

const OTHER_PROTOCOL: &str =
    "not supported: Postern gives access by SSH only; remove this section, or set it to \"enabled: no\"";
const OTHER_KEY: &str = "not supported: Postern gives access by SSH only; remove this key";
const ONE_PORT: &str =
    "not supported: the proxy serves every protocol on web_listen_addr; remove this key and use that address";
const ALGORITHMS: &str = "not supported: Postern offers a fixed list of modern algorithms; remove this key";
const SIGN_IN: &str = "not supported: people do not sign in to Postern yet; remove this key";
const ENGINE: &str = "this storage engine is not supported; use \"sqlite\"";
const OTHER_ENGINE: &str = "belongs to a storage engine that is not supported; remove it";
const OTHER_METHOD: &str = "belongs to a join method that is not supported; remove it";
const AUDIT_STORE: &str =
    "not supported: audit events are kept in the store and in the data directory; remove this key";
const TUNNELS: &str = "not supported: nodes do not connect through reverse tunnels yet; remove this key";

const YES: &[&str] = &["yes", "true", "on"];

const TABLE: &[Refusal] = &[
    // Services
    refuse("app_service", OTHER_PROTOCOL).unless_off(),
    refuse("db_service", OTHER_PROTOCOL).unless_off(),
    refuse("kubernetes_service", OTHER_PROTOCOL).unless_off(),
    refuse("windows_desktop_service", OTHER_PROTOCOL).unless_off(),
    refuse("discovery_service", "not supported: Postern does not look for hosts to enrol; remove it")
        .unless_off(),
    refuse("okta_service", SIGN_IN).unless_off(),
    refuse("jamf_service", "not supported: Postern knows no device inventory; remove it").unless_off(),
    refuse("metrics_service", "not supported as a service; set postern.diag_addr for metrics and health")
        .unless_off(),
    refuse("debug_service", "not supported; set postern.log.severity to DEBUG and send SIGHUP").unless_off(),
    refuse("tracing_service", "not supported: Postern exports no traces yet; remove it").unless_off(),
    refuse("plugins", "not supported: Postern has no plugins; remove it").unless_off(),
    // The host as a whole
    refuse("postern.auth_servers", "replaced in version v3; give one address as auth_server or proxy_server"),
    refuse("postern.join_params.method", "this join method is not supported; use \"token\", \"bound_keypair\", \"tpm\" or \"kubernetes\"")
        .unless(&["token", "bound_keypair", "tpm", "kubernetes"]),
    refuse("postern.join_params.azure", OTHER_METHOD),
    refuse("postern.join_params.gitlab", OTHER_METHOD),
    refuse("postern.join_params.terraform", OTHER_METHOD),
    refuse("postern.cache", "not supported: nodes always keep what they need on disk; remove it"),
    refuse("postern.connection_limits", "not supported: limits on connections are built in; remove it"),
    refuse("postern.auth_connection_config", "not supported: auth paces reconnects; remove it"),
    refuse("postern.ciphers", ALGORITHMS),
    refuse("postern.kex_algos", ALGORITHMS),
    refuse("postern.mac_algos", ALGORITHMS),
    refuse("postern.ciphersuites", ALGORITHMS),
    refuse("postern.ca_signature_algo", ALGORITHMS),
    refuse("postern.log.output", "not supported; write to stderr, which the service manager keeps")
        .value("syslog"),
    refuse(
        "postern.log.format.extra_fields",
        "not supported: each message has time, level and component; remove it",
    ),
    refuse("postern.storage.type", ENGINE).value("etcd"),
    refuse("postern.storage.type", ENGINE).value("postgresql"),
    refuse("postern.storage.type", ENGINE).value("cockroachdb"),
    refuse("postern.storage.type", ENGINE).value("dynamodb"),
    refuse("postern.storage.type", ENGINE).value("firestore"),
    refuse("postern.storage.type", ENGINE).value("bolt"),
    refuse("postern.storage.sync", "not supported: every commit is synced to disk; remove it")
        .unless(&["full"]),
    refuse("postern.storage.journal", "not supported: the journal is always WAL; remove it").unless(&["wal"]),
    refuse("postern.storage.audit_events_uri", AUDIT_STORE),
    refuse("postern.storage.audit_sessions_uri", "not supported: sessions are not recorded yet; remove it"),
    refuse("postern.storage.peers", OTHER_ENGINE),
    refuse("postern.storage.prefix", OTHER_ENGINE),
    refuse("postern.storage.tls_*", OTHER_ENGINE),
    refuse("postern.storage.*conn_string", OTHER_ENGINE),
    refuse("postern.storage.auth_mode", OTHER_ENGINE),
    refuse("postern.storage.table_name", OTHER_ENGINE),
    refuse("postern.storage.region", OTHER_ENGINE),
    refuse("postern.storage.billing_mode", OTHER_ENGINE),
    refuse("postern.storage.continuous_backups", OTHER_ENGINE).unless_off(),
    refuse("postern.storage.auto_scaling", OTHER_ENGINE).unless_off(),
    refuse("postern.storage.retention_period", OTHER_ENGINE),
    refuse("postern.storage.read_*_capacity", OTHER_ENGINE),
    refuse("postern.storage.write_*_capacity", OTHER_ENGINE),
    refuse("postern.storage.collection_name", OTHER_ENGINE),
    refuse("postern.storage.project_id", OTHER_ENGINE),
    // Auth
    refuse("auth_service.proxy_protocol", "not supported on the auth port; remove it")
        .unless(&["off", "unset"]),
    refuse(
        "auth_service.session_recording",
        "not supported: sessions are not recorded yet; set it to \"off\"",
    )
    .unless(&["off"]),
    refuse("auth_service.proxy_checks_host_keys", "not supported: host keys are always checked; remove it")
        .unless(YES),
    refuse("auth_service.web_idle_timeout", SIGN_IN),
    refuse("auth_service.session_control_timeout", "not supported; remove it"),
    refuse("auth_service.proxy_listener_mode", ONE_PORT).unless(&["multiplex"]),
    refuse("auth_service.tunnel_strategy", TUNNELS),
    refuse("auth_service.license_file", "not supported: Postern needs no license; remove it"),
    refuse("auth_service.load_all_cas", "not supported: Postern trusts no other clusters yet; remove it")
        .unless_off(),
    refuse("auth_service.ca_key_params", "not supported: CA keys are files in the data directory; remove it"),
    refuse("auth_service.kubeconfig_file", OTHER_KEY),
    refuse("auth_service.access_monitoring", "not supported; remove it").unless_off(),
    refuse("auth_service.authentication.type", SIGN_IN).unless(&["local"]),
    refuse("auth_service.authentication.local_auth", SIGN_IN).unless(YES),
    refuse("auth_service.authentication.connector_name", SIGN_IN).unless(&["local"]),
    refuse("auth_service.authentication.second_factor", SIGN_IN).unless_off(),
    refuse("auth_service.authentication.second_factors", SIGN_IN),
    refuse("auth_service.authentication.require_session_mfa", SIGN_IN).unless_off(),
    refuse("auth_service.authentication.webauthn", SIGN_IN),
    refuse("auth_service.authentication.u2f", SIGN_IN),
    refuse("auth_service.authentication.passwordless", SIGN_IN).unless_off(),
    refuse("auth_service.authentication.headless", SIGN_IN).unless_off(),
    refuse("auth_service.authentication.device_trust", SIGN_IN).unless_off(),
    refuse("auth_service.authentication.hardware_key", SIGN_IN),
    refuse("auth_service.authentication.allow_*", SIGN_IN),
    // Proxy
    refuse("proxy_service.listen_addr", ONE_PORT),
    refuse("proxy_service.tunnel_listen_addr", ONE_PORT),
    refuse("proxy_service.ssh_public_addr", ONE_PORT),
    refuse("proxy_service.tunnel_public_addr", TUNNELS),
    refuse("proxy_service.peer_listen_addr", TUNNELS),
    refuse("proxy_service.peer_public_addr", TUNNELS),
    refuse("proxy_service.acme", "not supported: give certificates in https_keypairs, or none; remove it")
        .unless_off(),
    refuse("proxy_service.trust_x_forwarded_for", "not supported; a load balancer can use proxy_protocol")
        .unless_off(),
    refuse("proxy_service.ui", "not supported: there is no web interface yet; remove it"),
    refuse("proxy_service.app", OTHER_KEY),
    refuse("proxy_service.kube_*", OTHER_KEY),
    refuse("proxy_service.kubernetes", OTHER_PROTOCOL).unless_off(),
    refuse("proxy_service.mysql_*", OTHER_KEY),
    refuse("proxy_service.postgres_*", OTHER_KEY),
    refuse("proxy_service.mongo_*", OTHER_KEY),
    // SSH
    refuse("ssh_service.disable_create_host_user", "not supported: Postern creates no host users; remove it")
        .unless(YES),
    refuse("ssh_service.force_listen", "not supported: nodes always listen; remove it")
        .unless(YES)
        .unless_off(),
    refuse(
        "ssh_service.pam.use_pam_auth",
        "not supported: users log in by certificate only, and PAM decides over account and session; remove it",
    )
    .unless_off(),
    refuse("ssh_service.enhanced_recording", "not supported: sessions are not recorded yet; remove it")
        .unless_off(),
    refuse("ssh_service.allow_tcp_forwarding", "called port_forwarding in this file; rename it"),
];
