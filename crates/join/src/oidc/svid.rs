//! JWT-SVIDs: the tokens of workloads, verified as ID tokens are (JWT-SVID, sections 3 and 5).

use super::{Jwks, Unverified, audiences, differs, jws, times};
use access::{ClusterName, SpiffeId};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// No JWT-SVID lives longer, in seconds.
const LONGEST_LIFE: i64 = 24 * 3600;

/// Whether `token` is a JWT-SVID of a workload of this cluster, for `audience`, and good now. `keys` are those of the
/// cluster's workload authority.
pub fn verify_svid(
    token: &str,
    keys: &Jwks,
    cluster: &ClusterName,
    audience: &str,
    now: Timestamp,
) -> Result<(SpiffeId, Map<String, Value>), Unverified> {
    let claims = jws::verified(token, keys)?;
    let id = claims.get("sub").and_then(Value::as_str).and_then(|sub| sub.parse::<SpiffeId>().ok());
    let Some(id) = id.filter(|id| id.domain == *cluster) else {
        return Err(differs(&claims, "sub", format!("a SPIFFE ID of {cluster}")));
    };
    if audience.is_empty() || !audiences(&claims).contains(&audience) {
        return Err(differs(&claims, "aud", audience.chars().take(256).collect()));
    }
    times(&claims, LONGEST_LIFE, now)?;
    Ok((id, claims))
}
