//! Message numbers, and the codes of `DISCONNECT` and `CHANNEL_OPEN_FAILURE`.

/// RFC 4253, section 11.1
pub(crate) const DISCONNECT: u8 = 1;
/// RFC 4253, section 11.2
pub(crate) const IGNORE: u8 = 2;
/// RFC 4253, section 11.4
pub(crate) const UNIMPLEMENTED: u8 = 3;
/// RFC 4253, section 11.3
pub(crate) const DEBUG: u8 = 4;
/// RFC 4253, section 10
pub(crate) const SERVICE_REQUEST: u8 = 5;
pub(crate) const SERVICE_ACCEPT: u8 = 6;
/// RFC 8308, section 2.3
pub(crate) const EXT_INFO: u8 = 7;
/// RFC 4253, section 7
pub(crate) const KEXINIT: u8 = 20;
pub(crate) const NEWKEYS: u8 = 21;
/// RFC 5656, section 4, and those that follow it
pub(crate) const KEX_INIT: u8 = 30;
pub(crate) const KEX_REPLY: u8 = 31;
/// RFC 4252, section 6
pub(crate) const USERAUTH_REQUEST: u8 = 50;
pub(crate) const USERAUTH_FAILURE: u8 = 51;
pub(crate) const USERAUTH_SUCCESS: u8 = 52;
pub(crate) const USERAUTH_BANNER: u8 = 53;
/// RFC 4252, section 7
pub(crate) const USERAUTH_PK_OK: u8 = 60;
/// RFC 4254, section 4
pub(crate) const GLOBAL_REQUEST: u8 = 80;
pub(crate) const REQUEST_SUCCESS: u8 = 81;
pub(crate) const REQUEST_FAILURE: u8 = 82;
/// RFC 4254, section 5
pub(crate) const CHANNEL_OPEN: u8 = 90;
pub(crate) const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
pub(crate) const CHANNEL_OPEN_FAILURE: u8 = 92;
pub(crate) const CHANNEL_WINDOW_ADJUST: u8 = 93;
pub(crate) const CHANNEL_DATA: u8 = 94;
pub(crate) const CHANNEL_EXTENDED_DATA: u8 = 95;
pub(crate) const CHANNEL_EOF: u8 = 96;
pub(crate) const CHANNEL_CLOSE: u8 = 97;
pub(crate) const CHANNEL_REQUEST: u8 = 98;
pub(crate) const CHANNEL_SUCCESS: u8 = 99;
pub(crate) const CHANNEL_FAILURE: u8 = 100;
/// OpenSSH's PROTOCOL, section 1.9
pub(crate) const PING: u8 = 192;
pub(crate) const PONG: u8 = 193;

/// Why a connection is ended (RFC 4253, section 11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Disconnect {
    /// A rule of the protocol was broken.
    ProtocolError = 2,
    /// No key exchange came about.
    KeyExchangeFailed = 3,
    /// A packet was not authentic.
    MacError = 5,
    /// A service was wanted that is not there.
    ServiceNotAvailable = 7,
    /// The host key is not trusted.
    HostKeyNotVerifiable = 9,
    /// Somebody or something wanted it.
    ByApplication = 11,
    /// Nothing that was offered was accepted.
    NoMoreAuthMethods = 14,
}

/// Why a channel is not opened (RFC 4254, section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum OpenFailure {
    /// Not allowed.
    Prohibited = 1,
    /// The other end of it cannot be reached.
    ConnectFailed = 2,
    /// There is no such type of channel.
    UnknownType = 3,
    /// Too many.
    ResourceShortage = 4,
}
