//! Where the auth service is and as whom it is asked: the socket on its own machine, or an identity file.

mod local_config;

pub use local_config::{LocalConfigError, data_dir};

use crate::Failure;
use std::path::{Path, PathBuf};
use tonic::transport::{Channel, Endpoint};

/// Where a daemon reads its configuration unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/postern.yaml";
/// The socket for administrators, inside the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// A way to the auth service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// As an administrator of this machine; the kernel says who we are.
    Local {
        /// The daemon's data directory.
        data_dir: PathBuf,
    },
}

/// A channel to the auth service; nothing is connected before the first call.
pub fn connect(target: &Target) -> Result<Channel, Failure> {
    match target {
        Target::Local { data_dir } => local(data_dir),
    }
}

/// An absent socket is the most common trouble and deserves a better word than a failed connection.
fn local(data_dir: &Path) -> Result<Channel, Failure> {
    let socket = data_dir.join(ADMIN_SOCKET);
    match std::fs::symlink_metadata(&socket) {
        Ok(_) => Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map(|endpoint| endpoint.connect_lazy())
            .map_err(|error| Failure::new(format!("cannot use {}: {error}", socket.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("no auth service runs here: there is no {}", socket.display())).hint(
                "start it with postern start, name its configuration with -c, or use -i IDENTITY with \
                 --auth-server or --proxy from another machine",
            ))
        }
        Err(error) => Err(Failure::new(format!("cannot reach {}: {error}", socket.display()))
            .hint("run this as root or as the user of the auth service")),
    }
}
