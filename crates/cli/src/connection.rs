//! Where the auth service is and as whom it is asked: the socket on its own machine, or an identity file.

mod identity_file;
mod local_config;

pub use identity_file::{in_force, read_identity};
pub use local_config::{LocalConfigError, data_dir};

use crate::Failure;
use access::HostPort;
use jiff::Timestamp;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tonic::transport::Channel;
use transport::LiveCredentials;

/// Where a daemon reads its configuration unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/postern.yaml";
/// The socket for administrators, inside the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";
/// Where auth listens when an address has no port.
pub const AUTH_PORT: u16 = 3025;
/// Where proxies listen when an address has no port.
pub const PROXY_PORT: u16 = 3080;

/// A way to the auth service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// As an administrator of this machine; the kernel says who we are.
    Local {
        /// The daemon's data directory.
        data_dir: PathBuf,
    },
    /// As whom an identity file says, from anywhere.
    Remote {
        /// The identity file.
        identity: PathBuf,
        /// Of auth, or of a proxy, which relays blindly.
        address: HostPort,
    },
}

/// A channel to the auth service; nothing is connected before the first call.
pub fn connect(target: &Target) -> Result<Channel, Failure> {
    match target {
        Target::Local { data_dir } => local(data_dir),
        Target::Remote { identity, address } => {
            let credentials = read_identity(identity)?;
            in_force(identity, &credentials, Timestamp::now())?;
            let live = LiveCredentials::new(credentials).map_err(|error| Failure::new(error.to_string()))?;
            Ok(transport::rpc::connect_auth(address, &live))
        }
    }
}

/// An absent socket is the most common trouble and deserves a better word than a failed connection.
fn local(data_dir: &Path) -> Result<Channel, Failure> {
    let socket = data_dir.join(ADMIN_SOCKET);
    match std::fs::symlink_metadata(&socket) {
        Ok(_) => Ok(transport::rpc::connect_admin(&socket)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::new(format!("no auth service runs here: there is no {}", socket.display())).hint(
                "start it with postern start, name its configuration with -c, or use -i IDENTITY with \
                 --auth-server or --proxy from another machine",
            ))
        }
        Err(error) => Err(Failure::new(format!("cannot reach {}: {error}", socket.display()))
            .hint("run this as root, or as whoever started the auth service")),
    }
}
