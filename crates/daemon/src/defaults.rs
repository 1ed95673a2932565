//! Where things are when nobody says otherwise.

/// The configuration file.
pub const CONFIG_FILE: &str = "/etc/postern.yaml";

/// The directory for state.
pub const DATA_DIR: &str = "/var/lib/postern";

/// Environment variables that name the configuration file, the first one that is set.
pub const CONFIG_VARIABLES: [&str; 2] = ["POSTERN_CONFIG_FILE", "TELEPORT_CONFIG_FILE"];
