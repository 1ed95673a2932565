//! Locks.

use super::fields::{Fields, Item};
use super::{Invalid, Kind, metadata, version};
use crate::resource::Lock;
use crate::resource::lock::{LockSpec, LockTarget};

pub(super) fn decode(top: &mut Fields) -> Result<Lock, Invalid> {
    let metadata = metadata::decode(top)?;
    version(top, Kind::Lock)?;
    let plain = metadata.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@+:".contains(c));
    if !plain || metadata.name.len() > 255 {
        return Err(Invalid::new("metadata.name", "a lock's name has letters, digits and -_.@+:"));
    }
    let mut spec = top.section("spec")?;
    let lock = LockSpec {
        target: target(spec.required("target")?)?,
        message: spec.text("message")?,
        expires: spec.timestamp("expires")?,
    };
    spec.ignore(&["created_at", "created_by"]);
    spec.finish()?;
    Ok(Lock { metadata, spec: lock })
}

fn target(item: Item) -> Result<LockTarget, Invalid> {
    let mut fields = Fields::of(item)?;
    let target = LockTarget {
        user: name(&mut fields, "user")?,
        role: name(&mut fields, "role")?,
        login: name(&mut fields, "login")?,
        server_id: server_id(&mut fields)?,
        bot_instance_id: id(&mut fields, "bot_instance_id", "tctl bots instances ls")?,
        join_token: name(&mut fields, "join_token")?,
    };
    for key in ["mfa_device", "device", "windows_desktop", "access_request"] {
        if let Some(item) = fields.take(key)
            && !item.is_blank()
        {
            return Err(item.invalid("there are none in this cluster, so the lock would refuse nobody"));
        }
    }
    let needed =
        fields.invalid("a lock needs a target: user, role, login, server_id, bot_instance_id or join_token");
    fields.finish()?;
    if target == LockTarget::default() { Err(needed) } else { Ok(target) }
}

fn name(fields: &mut Fields, key: &'static str) -> Result<Option<String>, Invalid> {
    let Some(item) = fields.take(key).filter(|item| !item.is_blank()) else {
        return Ok(None);
    };
    let name = item.text()?;
    match name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '*') {
        true => Err(item.invalid("one name is needed here; locks know no patterns")),
        false => Ok(Some(name)),
    }
}

/// An id, perhaps with the cluster's name after it. A lock on anything else would refuse nobody.
fn id(fields: &mut Fields, key: &'static str, list: &str) -> Result<Option<String>, Invalid> {
    let Some(item) = fields.take(key).filter(|item| !item.is_blank()) else {
        return Ok(None);
    };
    let id = item.text()?;
    let bare = id.split_once('.').map_or(id.as_str(), |(bare, _)| bare);
    match bare.parse::<uuid::Uuid>() {
        Ok(_) => Ok(Some(id)),
        Err(_) => Err(item.invalid(format!("{id:?} is no id, so the lock would refuse nobody; see {list}"))),
    }
}

/// `node` is what the incumbent called it before.
fn server_id(fields: &mut Fields) -> Result<Option<String>, Invalid> {
    const LIST: &str = "tctl nodes ls";
    match (id(fields, "server_id", LIST)?, id(fields, "node", LIST)?) {
        (Some(id), Some(old)) if id != old => {
            Err(fields.invalid("server_id and node differ; write server_id only"))
        }
        (id, old) => Ok(id.or(old)),
    }
}
