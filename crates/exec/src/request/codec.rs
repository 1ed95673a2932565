//! [`SessionRequest`] to and from bytes. `encode` destructures without `..`, so a new field does not compile until it
//! is mapped here and in `decode`.

use std::net::IpAddr;

use super::{Launch, MAX_BYTES, MAX_ENV, Pam, Pty, RequestError, SessionRequest, WindowSize};
use crate::limits::Limits;
use crate::modes::TerminalModes;
use crate::wire::{Reader, WireError, Writer};

/// The first byte of a request. Node and helper are of one release; after an upgrade in place they may not be, and then
/// a clear refusal is better than a guess.
pub(super) const VERSION: u8 = 4;

const LAUNCH_SHELL: u8 = 0;
const LAUNCH_COMMAND: u8 = 1;
const LAUNCH_SFTP: u8 = 2;
const LAUNCH_SOCKETS: u8 = 3;

impl SessionRequest {
    /// The bytes of a valid request.
    pub fn encode(&self) -> Result<Vec<u8>, RequestError> {
        self.check()?;
        let Self { login, launch, client_env, trusted_env, pty, limits, peer, pam, user_env, opened_by } =
            self;
        let mut out = Writer::default();
        out.u8(VERSION);
        out.bytes(login.as_bytes());
        encode_launch(&mut out, launch);
        encode_env(&mut out, client_env);
        encode_env(&mut out, trusted_env);
        encode_pty(&mut out, pty.as_ref());
        encode_limits(&mut out, limits);
        encode_peer(&mut out, *peer);
        encode_pam(&mut out, pam.as_ref());
        out.u8(u8::from(*user_env));
        out.u32(*opened_by);
        let bytes = out.into_bytes();
        if bytes.len() > MAX_BYTES { Err(RequestError::TooLarge) } else { Ok(bytes) }
    }

    /// A valid request from bytes, or the reason why they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_BYTES {
            return Err(RequestError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let version = reader.u8().map_err(malformed)?;
        if version != VERSION {
            return Err(RequestError::Version(version));
        }
        let request = decode_fields(&mut reader).map_err(malformed)?;
        reader.finish().map_err(malformed)?;
        request.check()?;
        Ok(request)
    }
}

fn malformed(error: WireError) -> RequestError {
    RequestError::Malformed(error.to_string())
}

fn decode_fields(reader: &mut Reader<'_>) -> Result<SessionRequest, WireError> {
    Ok(SessionRequest {
        login: reader.text()?.to_owned(),
        launch: decode_launch(reader)?,
        client_env: decode_env(reader)?,
        trusted_env: decode_env(reader)?,
        pty: decode_pty(reader)?,
        limits: decode_limits(reader)?,
        peer: decode_peer(reader)?,
        pam: decode_pam(reader)?,
        user_env: flag(reader)?,
        opened_by: reader.u32()?,
    })
}

fn encode_launch(out: &mut Writer, launch: &Launch) {
    match launch {
        Launch::LoginShell => out.u8(LAUNCH_SHELL),
        Launch::Sftp => out.u8(LAUNCH_SFTP),
        Launch::Sockets => out.u8(LAUNCH_SOCKETS),
        Launch::Command(command) => {
            out.u8(LAUNCH_COMMAND);
            out.bytes(command);
        }
    }
}

fn decode_launch(reader: &mut Reader<'_>) -> Result<Launch, WireError> {
    match reader.u8()? {
        LAUNCH_SHELL => Ok(Launch::LoginShell),
        LAUNCH_COMMAND => Ok(Launch::Command(reader.bytes()?.to_vec())),
        LAUNCH_SFTP => Ok(Launch::Sftp),
        LAUNCH_SOCKETS => Ok(Launch::Sockets),
        _ => Err(WireError::OutOfRange),
    }
}

fn encode_env(out: &mut Writer, env: &[(String, String)]) {
    out.u32(u32::try_from(env.len()).unwrap_or(u32::MAX));
    for (name, value) in env {
        out.bytes(name.as_bytes());
        out.bytes(value.as_bytes());
    }
}

fn decode_env(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, WireError> {
    let count = usize::try_from(reader.u32()?).map_err(|_| WireError::OutOfRange)?;
    if count > MAX_ENV {
        return Err(WireError::OutOfRange);
    }
    (0..count).map(|_| Ok((reader.text()?.to_owned(), reader.text()?.to_owned()))).collect()
}

fn encode_pty(out: &mut Writer, pty: Option<&Pty>) {
    out.u8(u8::from(pty.is_some()));
    let Some(Pty { term, size, modes }) = pty else { return };
    let WindowSize { columns, rows, width_pixels, height_pixels } = *size;
    out.bytes(term.as_bytes());
    for number in [columns, rows, width_pixels, height_pixels] {
        out.u16(number);
    }
    out.bytes(&modes.encode());
}

fn decode_pty(reader: &mut Reader<'_>) -> Result<Option<Pty>, WireError> {
    if !flag(reader)? {
        return Ok(None);
    }
    let term = reader.text()?.to_owned();
    let size = WindowSize {
        columns: reader.u16()?,
        rows: reader.u16()?,
        width_pixels: reader.u16()?,
        height_pixels: reader.u16()?,
    };
    let modes = TerminalModes::parse(reader.bytes()?);
    Ok(Some(Pty { term, size, modes }))
}

fn encode_limits(out: &mut Writer, limits: &Limits) {
    out.u8(u8::try_from(limits.entries().len()).unwrap_or(u8::MAX));
    for &(index, soft, hard) in limits.entries() {
        out.u8(index);
        out.u64(soft);
        out.u64(hard);
    }
}

fn decode_limits(reader: &mut Reader<'_>) -> Result<Limits, WireError> {
    let count = usize::from(reader.u8()?);
    if count > Limits::MAX_ENTRIES {
        return Err(WireError::OutOfRange);
    }
    let entries = (0..count).map(|_| Ok((reader.u8()?, reader.u64()?, reader.u64()?)));
    Limits::from_entries(entries.collect::<Result<_, WireError>>()?).ok_or(WireError::OutOfRange)
}

fn encode_peer(out: &mut Writer, peer: Option<IpAddr>) {
    match peer {
        None => out.bytes(&[]),
        Some(IpAddr::V4(address)) => out.bytes(&address.octets()),
        Some(IpAddr::V6(address)) => out.bytes(&address.octets()),
    }
}

fn decode_peer(reader: &mut Reader<'_>) -> Result<Option<IpAddr>, WireError> {
    let bytes = reader.bytes()?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map(Some).map_err(|_| WireError::OutOfRange)
}

fn encode_pam(out: &mut Writer, pam: Option<&Pam>) {
    out.u8(u8::from(pam.is_some()));
    let Some(Pam { service, environment }) = pam else { return };
    out.bytes(service.as_bytes());
    encode_env(out, environment);
}

fn decode_pam(reader: &mut Reader<'_>) -> Result<Option<Pam>, WireError> {
    if !flag(reader)? {
        return Ok(None);
    }
    Ok(Some(Pam { service: reader.text()?.to_owned(), environment: decode_env(reader)? }))
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, WireError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::OutOfRange),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn full() -> SessionRequest {
        SessionRequest {
            login: "alice".into(),
            launch: Launch::Command(b"printf '\xff\n'".to_vec()),
            client_env: vec![("LANG".into(), "de_DE.UTF-8".into())],
            trusted_env: vec![("SSH_SESSION_ID".into(), "0f".into())],
            pty: Some(Pty {
                term: "xterm".into(),
                size: WindowSize { columns: 80, rows: 24, width_pixels: 640, height_pixels: 480 },
                modes: TerminalModes::parse(&[53, 0, 0, 0, 1, 128, 0, 0, 0x96, 0, 0]),
            }),
            limits: Limits::capture(),
            peer: Some(IpAddr::from([192, 0, 2, 7])),
            pam: Some(Pam {
                service: "sshd".into(),
                environment: vec![("TELEPORT_LOGIN".into(), "alice".into())],
            }),
            user_env: true,
            opened_by: 64_317,
        }
    }

    #[test]
    fn a_request_with_every_field_comes_back() {
        let request = full();
        let bytes = request.encode().expect("a valid request");
        assert_eq!(SessionRequest::decode(&bytes), Ok(request));
    }

    #[test]
    fn every_truncation_and_any_trailing_byte_is_refused() {
        let bytes = full().encode().expect("a valid request");
        for end in 0..bytes.len() {
            SessionRequest::decode(&bytes[..end]).expect_err("truncated");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(SessionRequest::decode(&longer), Err(RequestError::Malformed(_))));
    }

    #[test]
    fn what_no_process_could_carry_is_refused_on_both_sides() {
        let ask = |change: fn(&mut SessionRequest)| {
            let mut request = full();
            change(&mut request);
            request.encode()
        };
        assert_eq!(ask(|r| r.login.clear()), Err(RequestError::Login));
        for login in ["-l", "a/b", "a:b", "a b", "a\nb", "a\u{0}b", "a,b"] {
            let request = SessionRequest::new(login, Launch::LoginShell);
            assert_eq!(request.encode(), Err(RequestError::Login), "{login:?}");
        }
        assert_eq!(
            ask(|r| r.launch = Launch::Command(b"a\0b".to_vec())),
            Err(RequestError::Nul("the command"))
        );
        assert_eq!(
            ask(|r| r.client_env[0].1 = "\0".into()),
            Err(RequestError::Nul("an environment variable"))
        );
        assert_eq!(
            ask(|r| r.client_env = vec![(String::new(), String::new()); MAX_ENV + 1]),
            Err(RequestError::TooManyVariables)
        );
        assert_eq!(ask(|r| r.launch = Launch::Command(vec![b'a'; MAX_BYTES])), Err(RequestError::TooLarge));
    }

    #[test]
    fn a_pam_service_is_the_name_of_a_file_and_its_variables_are_checked() {
        let ask = |service: &str, value: &str| {
            let environment = vec![("NAME".to_owned(), value.to_owned())];
            SessionRequest { pam: Some(Pam { service: service.into(), environment }), ..full() }.encode()
        };
        ask("sshd-2.postern", "value").expect("valid");
        for service in ["", "..", "../sshd", "a/b", "-x", "a b", "a\0", "ä"] {
            assert_eq!(ask(service, "value"), Err(RequestError::PamService), "{service:?}");
        }
        assert_eq!(ask("sshd", "a\0b"), Err(RequestError::Nul("an environment variable")));
        for name in
            ["LD_PRELOAD", "PATH", "BASH_ENV", "TMPDIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS", "A=B"]
        {
            let environment = vec![(name.to_owned(), "x".to_owned())];
            let request = SessionRequest { pam: Some(Pam { service: "sshd".into(), environment }), ..full() };
            assert_eq!(request.encode(), Err(RequestError::PamVariable(name.to_owned())), "{name}");
        }
    }

    #[test]
    fn another_version_says_so() {
        let mut bytes = full().encode().expect("a valid request");
        bytes[0] = 9;
        assert_eq!(SessionRequest::decode(&bytes), Err(RequestError::Version(9)));
    }

    #[test]
    fn debug_shows_no_values() {
        let shown = format!("{:?}", full());
        assert!(shown.contains("LANG") && !shown.contains("de_DE") && !shown.contains("printf"), "{shown}");
    }

    fn any_request() -> impl Strategy<Value = SessionRequest> {
        let launch = prop_oneof![
            proptest::strategy::Just(Launch::LoginShell),
            proptest::strategy::Just(Launch::Sftp),
            proptest::strategy::Just(Launch::Sockets),
            proptest::collection::vec(1u8.., 0..200).prop_map(Launch::Command),
        ];
        let env = || proptest::collection::vec(("[A-Z_]{1,8}", "[^\\x00]{0,20}"), 0..8);
        // Of these letters no name is one that a program acts on.
        let told = proptest::collection::vec(("[A-C]{1,8}", "[a-z ]{0,20}"), 0..8);
        let pam = proptest::option::of(("[a-z][a-z0-9.-]{0,20}", told))
            .prop_map(|pam| pam.map(|(service, environment)| Pam { service, environment }));
        let more = (any::<Option<IpAddr>>(), pam, any::<bool>(), any::<u32>());
        (("[a-z][a-z0-9_.@-]{0,30}", launch, env(), env()), any::<Option<[u16; 4]>>(), more).prop_map(
            |((login, launch, client_env, trusted_env), size, (peer, pam, user_env, opened_by))| {
                SessionRequest {
                    login,
                    launch,
                    client_env,
                    trusted_env,
                    pty: size.map(|[columns, rows, width_pixels, height_pixels]| Pty {
                        term: "xterm".into(),
                        size: WindowSize { columns, rows, width_pixels, height_pixels },
                        modes: TerminalModes::default(),
                    }),
                    limits: Limits::default(),
                    peer,
                    pam,
                    user_env,
                    opened_by,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn any_valid_request_comes_back(request in any_request()) {
            let bytes = request.encode().expect("valid by construction");
            prop_assert_eq!(SessionRequest::decode(&bytes), Ok(request));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = SessionRequest::decode(&bytes);
        }

        #[test]
        fn no_mutation_panics(position in 0usize..400, value in any::<u8>()) {
            let mut bytes = full().encode().expect("a valid request");
            let position = position % bytes.len();
            bytes[position] = value;
            if let Ok(request) = SessionRequest::decode(&bytes) {
                prop_assert_eq!(request.check(), Ok(()));
            }
        }
    }
}
