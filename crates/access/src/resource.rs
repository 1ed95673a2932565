//! Resources: everything an administrator can create, read and change, in the shape of kubectl's
//! `kind / version / metadata / spec`.
//!
//! A resource is decoded strictly (an unknown field is a mistake, not a wish) and is only ever held in a
//! form that passed its own checks.

pub mod bot;
pub mod cert_authority;
pub mod cluster;
mod decode;
mod encode;
mod invalid;
pub mod kind;
pub mod lock;
pub mod metadata;
pub mod node;
pub mod role;
pub mod token;
pub mod user;

pub use bot::{Bot, BotInstance};
pub use cert_authority::CertAuthority;
pub use cluster::{AuthPreference, NetworkingConfig, RecordingConfig};
pub use invalid::Invalid;
pub use kind::Kind;
pub use lock::Lock;
pub use metadata::Metadata;
pub use node::Node;
pub use role::Role;
pub use token::Token;
pub use user::User;

/// Any resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// What its holders may do.
    Role(Box<Role>),
    /// A person, or the user that stands for a bot.
    User(User),
    /// A machine identity.
    Bot(Bot),
    /// One running copy of a bot.
    BotInstance(BotInstance),
    /// A permission to join.
    Token(Token),
    /// An SSH server.
    Node(Node),
    /// A certificate authority's public half.
    CertAuthority(CertAuthority),
    /// A refusal that acts at once, on live sessions too.
    Lock(Lock),
    /// How people authenticate.
    AuthPreference(AuthPreference),
    /// Keep-alives, time-outs, routing.
    NetworkingConfig(NetworkingConfig),
    /// Whether and where sessions are recorded.
    RecordingConfig(RecordingConfig),
}
