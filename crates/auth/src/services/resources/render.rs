//! Resources as callers get them.

use access::resource::Resource;
use serde_json::json;

/// The JSON of a resource; that of a bot tells the names that follow from its own.
pub(in crate::services) fn render(resource: &Resource) -> String {
    let mut value = resource.to_json();
    if let Resource::Bot(bot) = resource {
        let name = bot.name.resource_name();
        value["status"] = json!({"user_name": name, "role_name": name});
    }
    if let Some(bound) = value.pointer_mut("/status/bound_keypair").and_then(|bound| bound.as_object_mut()) {
        // The holder's alone.
        bound.remove("join_state");
        bound.remove("unconfirmed_attempt");
    }
    value.to_string()
}
