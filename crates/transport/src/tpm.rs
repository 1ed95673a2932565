//! How a TPM is reached: by the device of the kernel's resource manager, or by the socket of a simulator. What is said to it is
//! not known here.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The resource manager of the first TPM.
pub const DEVICE: &str = "/dev/tpmrm0";

/// Making an RSA key takes some TPMs half a minute.
const PATIENCE: Duration = Duration::from_secs(120);
const CONNECTING: Duration = Duration::from_secs(10);
/// For all that is asked at once, some of which makes keys.
const APART: Duration = Duration::from_secs(180);
/// No answer is longer (`TPM2_MAX_RESPONSE_SIZE`).
const LONGEST: usize = 4096;
const HEADER: usize = 10;

/// Where a TPM is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A device, such as `/dev/tpmrm0`.
    Device(PathBuf),
    /// The Unix socket of a simulator.
    Unix(PathBuf),
    /// The host and port of a simulator.
    Tcp(String),
}

impl Default for Address {
    fn default() -> Self {
        Self::Device(DEVICE.into())
    }
}

/// Neither of the three forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not where a TPM is; write /dev/tpmrm0, unix:/path or tcp:host:port")]
pub struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp", place)) if place.contains(':') => Ok(Self::Tcp(place.to_owned())),
            _ if text.starts_with('/') => Ok(Self::Device(text.into())),
            _ => Err(AddressError),
        }
    }
}

/// Sends one command to a TPM and reads the whole answer. Blocks.
pub type Exchange = Box<dyn FnMut(&[u8]) -> io::Result<Vec<u8>> + Send>;

/// Asks a TPM on a thread of its own, because it takes its time. The error is in words.
pub async fn apart<T, E>(ask: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: Display + Send + 'static,
{
    match tokio::time::timeout(APART, tokio::task::spawn_blocking(ask)).await {
        Ok(Ok(asked)) => asked.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it has not answered for {} seconds", APART.as_secs())),
    }
}

/// A way to a TPM that is open.
#[derive(Debug)]
enum Channel {
    Device(File),
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Address {
    /// Opens it.
    pub fn open(&self) -> io::Result<Exchange> {
        let mut channel = self.channel()?;
        Ok(Box::new(move |command| channel.exchange(command)))
    }

    fn channel(&self) -> io::Result<Channel> {
        match self {
            Self::Device(path) => {
                if !std::fs::metadata(path)?.file_type().is_char_device() {
                    return Err(io::Error::other("it is no device; a simulator's socket is unix:/path"));
                }
                OpenOptions::new().read(true).write(true).open(path).map(Channel::Device)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Channel::Unix(stream))
            }
            Self::Tcp(place) => {
                let address = place.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
                let stream = TcpStream::connect_timeout(&address, CONNECTING)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Channel::Tcp(stream))
            }
        }
    }
}

impl Channel {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Device(file) => exchange(file, command),
            Self::Unix(stream) => exchange(stream, command),
            Self::Tcp(stream) => exchange(stream, command),
        }
    }
}

/// A device takes a command in one call and gives its answer in one; a socket may give it in pieces.
fn exchange(stream: &mut (impl Read + Write), command: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(command)?;
    let mut answer = vec![0; LONGEST];
    let (mut have, mut whole) = (0, HEADER);
    while have < whole {
        let read = match stream.read(&mut answer[have..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        have += read;
        if let Some(size) = answer[..have].get(2..6).and_then(|size| <[u8; 4]>::try_from(size).ok()) {
            whole = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX).max(HEADER);
            if whole > LONGEST {
                return Err(io::Error::other("its answer is longer than any answer of a TPM"));
            }
        }
    }
    answer.truncate(have);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::{Address, exchange};
    use std::io::{Cursor, Read, Write};

    #[test]
    fn a_tpm_is_a_device_or_a_socket() {
        assert_eq!("/dev/tpmrm0".parse(), Ok(Address::default()));
        assert_eq!("unix:/run/tpm".parse(), Ok(Address::Unix("/run/tpm".into())));
        assert_eq!("tcp:127.0.0.1:2321".parse(), Ok(Address::Tcp("127.0.0.1:2321".into())));
        for wrong in ["", "tpm0", "unix:tpm", "tcp:2321", "udp:a:1"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong:?}");
        }
        let error = Address::Device("/etc/passwd".into()).channel().expect_err("is refused");
        assert!(error.to_string().contains("it is no device"), "{error}");
    }

    /// Gives its answer in pieces of this length.
    struct Pieces(Cursor<Vec<u8>>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = buffer.len().min(self.1);
            self.0.read(&mut buffer[..length])
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn answers_in_pieces_are_put_together_and_none_is_waited_for_in_vain() {
        let answer = [&[0x80, 1][..], &12u32.to_be_bytes(), &[0, 0, 0, 0, 7, 8]].concat();
        for piece in [1, 5, 64] {
            let read = exchange(&mut Pieces(Cursor::new(answer.clone()), piece), b"x").expect("an answer");
            assert_eq!(read, answer);
        }
        for (length, size) in [(9, 12), (11, 12), (12, 5000), (12, u32::MAX)] {
            let mut answer = [&[0x80, 1][..], &u32::to_be_bytes(size), &[0, 0, 0, 0, 7, 8]].concat();
            answer.truncate(length);
            exchange(&mut Pieces(Cursor::new(answer), 64), b"x").expect_err("is no answer");
        }
    }
}
