//! The three settings of a cluster.
//!
//! What the incumbent prints beside ours is accepted where it has no meaning here (how people sign in, web
//! sessions), and refused where it asks for a restriction or a layout that does not exist.

use super::fields::{Fields, Item};
use super::foreign::{Gate, check_gates};
use super::{Invalid, Kind, metadata, version};
use crate::Ttl;
use crate::resource::cluster::{
    AuthPreferenceSpec, LockingMode, NetworkingSpec, RecordingMode, RecordingSpec, RoutingStrategy,
};
use crate::resource::{AuthPreference, Metadata, NetworkingConfig, RecordingConfig};

pub(super) fn auth_preference(top: &mut Fields) -> Result<AuthPreference, Invalid> {
    let metadata = header(top, Kind::ClusterAuthPreference)?;
    let mut spec = top.section("spec")?;
    let default = AuthPreferenceSpec::default();
    let settings = AuthPreferenceSpec {
        default_session_ttl: limited(&mut spec, "default_session_ttl", default.default_session_ttl)?,
        disconnect_expired_cert: spec
            .flag("disconnect_expired_cert")?
            .unwrap_or(default.disconnect_expired_cert),
        locking_mode: spec
            .take("locking_mode")
            .map_or(Ok(default.locking_mode), |item| locking_mode(&item))?,
        require_post_quantum: spec.flag("require_post_quantum")?.unwrap_or(default.require_post_quantum),
        message_of_the_day: spec.text("message_of_the_day")?,
    };
    const GATES: [Gate; 2] = [
        Gate {
            key: "type",
            off: &["", "local"],
            reason: "sign-in by an identity provider does not exist here",
        },
        Gate {
            key: "require_session_mfa",
            off: &["", "no", "off"],
            reason: "second factors are not checked here yet",
        },
    ];
    check_gates(&mut spec, &GATES)?;
    let mut device_trust = spec.section("device_trust")?;
    const TRUST: Gate =
        Gate { key: "mode", off: &["", "off", "optional"], reason: "devices are not checked here" };
    check_gates(&mut device_trust, &[TRUST])?;
    spec.ignore(&[
        "second_factor",
        "second_factors",
        "webauthn",
        "u2f",
        "hardware_key",
        "connector_name",
        "allow_local_auth",
        "allow_passwordless",
        "allow_headless",
        "allow_browser",
        "idp",
        "okta",
        "options",
        "signature_algorithm_suite",
        "stable_unix_user_config",
    ]);
    spec.finish()?;
    Ok(AuthPreference { metadata, spec: settings })
}

pub(super) fn networking(top: &mut Fields) -> Result<NetworkingConfig, Invalid> {
    let metadata = header(top, Kind::ClusterNetworkingConfig)?;
    let mut spec = top.section("spec")?;
    let default = NetworkingSpec::default();
    let settings = NetworkingSpec {
        client_idle_timeout: spec.ttl("client_idle_timeout")?.unwrap_or(default.client_idle_timeout),
        client_idle_timeout_message: spec.text("client_idle_timeout_message")?,
        keep_alive_interval: limited(&mut spec, "keep_alive_interval", default.keep_alive_interval)?,
        keep_alive_count_max: spec
            .count("keep_alive_count_max")?
            .filter(|count| *count > 0)
            .unwrap_or(default.keep_alive_count_max),
        routing_strategy: spec
            .take("routing_strategy")
            .map_or(Ok(default.routing_strategy), |item| routing_strategy(&item))?,
        case_insensitive_routing: spec
            .flag("case_insensitive_routing")?
            .unwrap_or(default.case_insensitive_routing),
        ssh_dial_timeout: limited(&mut spec, "ssh_dial_timeout", default.ssh_dial_timeout)?,
    };
    if let Some(item) = spec.take("proxy_listener_mode") {
        listener_mode(&item)?;
    }
    let mut tunnels = spec.section("tunnel_strategy")?;
    const TUNNELS: Gate = Gate { key: "type", off: &["", "agent_mesh"], reason: "proxies do not peer here" };
    check_gates(&mut tunnels, &[TUNNELS])?;
    spec.ignore(&[
        "web_idle_timeout",
        "session_control_timeout",
        "proxy_ping_interval",
        "assist_command_execution_workers",
    ]);
    spec.finish()?;
    Ok(NetworkingConfig { metadata, spec: settings })
}

pub(super) fn recording(top: &mut Fields) -> Result<RecordingConfig, Invalid> {
    let metadata = header(top, Kind::SessionRecordingConfig)?;
    let mut spec = top.section("spec")?;
    if let Some(mode) = spec.take("mode")
        && mode.text()? != "off"
    {
        return Err(mode.invalid(
            "sessions are not recorded here yet, and a mode that says so would be untrue; write off",
        ));
    }
    spec.ignore(&["proxy_checks_host_keys"]);
    spec.finish()?;
    Ok(RecordingConfig { metadata, spec: RecordingSpec { mode: RecordingMode::Off } })
}

fn header(top: &mut Fields, kind: Kind) -> Result<Metadata, Invalid> {
    let metadata = metadata::decode_single(top, kind, kind.single_name().unwrap_or_default())?;
    version(top, kind)?;
    Ok(metadata)
}

/// A duration for which "no limit" has no meaning; the default stands in.
fn limited(spec: &mut Fields, key: &'static str, default: Ttl) -> Result<Ttl, Invalid> {
    Ok(spec.ttl(key)?.filter(|ttl| ttl.limit().is_some()).unwrap_or(default))
}

/// `best_effort` or `strict`; the empty text is the default.
pub(super) fn locking_mode(item: &Item) -> Result<LockingMode, Invalid> {
    match item.text()?.as_str() {
        "" | "best_effort" => Ok(LockingMode::BestEffort),
        "strict" => Ok(LockingMode::Strict),
        _ => Err(item.invalid("locking mode must be one of best_effort, strict")),
    }
}

/// A word in any case, or the number that the incumbent prints.
fn routing_strategy(item: &Item) -> Result<RoutingStrategy, Invalid> {
    if let Some(number) = item.value.as_u64() {
        return match number {
            0 => Ok(RoutingStrategy::UnambiguousMatch),
            1 => Ok(RoutingStrategy::MostRecent),
            _ => Err(strategies(item)),
        };
    }
    match item.text()?.to_ascii_lowercase().as_str() {
        "" | "unambiguous_match" => Ok(RoutingStrategy::UnambiguousMatch),
        "most_recent" => Ok(RoutingStrategy::MostRecent),
        _ => Err(strategies(item)),
    }
}

fn strategies(item: &Item) -> Invalid {
    item.invalid("routing strategy must be one of unambiguous_match, most_recent")
}

/// The numbers are the incumbent's own: 0 is separate, 1 is multiplex.
fn listener_mode(item: &Item) -> Result<(), Invalid> {
    let multiplex = match item.value.as_u64() {
        Some(number) => number == 1,
        None => matches!(item.text()?.to_ascii_lowercase().as_str(), "" | "multiplex"),
    };
    match multiplex {
        true => Ok(()),
        false => Err(item
            .invalid("proxy listener mode must be one of multiplex; the proxy has one port for everything")),
    }
}
