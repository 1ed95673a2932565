//! Certificate authorities: public keys only.

use super::fields::Fields;
use super::{Invalid, Kind, metadata, version};
use crate::ClusterName;
use crate::resource::CertAuthority;
use crate::resource::cert_authority::CertAuthoritySpec;

pub(super) fn decode(top: &mut Fields) -> Result<CertAuthority, Invalid> {
    let metadata = metadata::decode(top)?;
    version(top, Kind::CertAuthority)?;
    let spec: CertAuthoritySpec = top.required("spec")?.plain()?;
    ClusterName::new(spec.cluster_name.as_str())
        .map_err(|error| Invalid::new("spec.cluster_name", error.to_string()))?;
    // Stored under its kind as well, because a cluster has several under one name.
    let names = [spec.cluster_name.clone(), format!("{}/{}", spec.kind.as_str(), spec.cluster_name)];
    if !names.contains(&metadata.name) {
        return Err(Invalid::new(
            "metadata.name",
            format!("the name must be {}, as spec says", spec.cluster_name),
        ));
    }
    if let Some(at) = [&spec.active_keys, &spec.additional_trusted_keys]
        .iter()
        .position(|keys| keys.ssh.iter().chain(&keys.tls).any(|key| key.contains("PRIVATE KEY")))
    {
        let path = ["spec.active_keys", "spec.additional_trusted_keys"][at];
        return Err(Invalid::new(path, "a private key does not belong into a resource"));
    }
    Ok(CertAuthority { metadata, spec })
}
