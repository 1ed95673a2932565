//! From a host to here. Every name that the server chooses is checked before it names a file here.

use super::{AHEAD, BLOCK, DEEPEST, Manner, local, remote};
use crate::Failure;
use crate::tsh::sftp::{Attributes, Handle, Open, Sftp, SftpError, names};
use futures_util::StreamExt;
use futures_util::stream;
use std::fs::{FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use tokio::io::{AsyncWriteExt, BufWriter};

/// How much is written to the disk at once.
const WRITE_BEHIND: usize = 1 << 20;

/// Copies `paths` to `to`: into it when it is a directory (or when there are `several`), else as it.
pub(super) async fn run(
    sftp: &Sftp,
    paths: &[&str],
    to: &Path,
    several: bool,
    manner: &Manner,
) -> Result<(), Failure> {
    let into = to.is_dir();
    if several && !into {
        return Err(Failure::new(format!("{} is not a directory", to.display()))
            .hint("several files can only be copied into a directory that is there"));
    }
    for path in paths {
        let attributes = sftp.stat(path.as_bytes()).await.map_err(|error| remote(path.as_bytes(), &error))?;
        let to = match (into, Path::new(path).file_name()) {
            (true, Some(name)) => to.join(name),
            (true, None) | (false, _) => to.to_owned(),
        };
        let first = Step::Copy { from: path.as_bytes().to_vec(), to, attributes, depth: 0 };
        all(sftp, first, manner).await?;
    }
    Ok(())
}

/// What is still to be done. A list and not calls within calls: how deep a tree is, the server says.
enum Step {
    /// A file or a directory with everything in it.
    Copy { from: Vec<u8>, to: PathBuf, attributes: Attributes, depth: usize },
    /// A directory that has everything in it.
    Finish { to: PathBuf, attributes: Attributes },
}

async fn all(sftp: &Sftp, first: Step, manner: &Manner) -> Result<(), Failure> {
    let mut steps = vec![first];
    while let Some(step) = steps.pop() {
        let (from, to, attributes, depth) = match step {
            Step::Finish { to, attributes } => {
                keep(&to, attributes).await?;
                continue;
            }
            Step::Copy { from, to, attributes, depth } => (from, to, attributes, depth),
        };
        let name = || String::from_utf8_lossy(&from).into_owned();
        if attributes.is_directory() {
            if !manner.recursive {
                return Err(
                    Failure::new(format!("{} is a directory", name())).hint("use -r to copy directories")
                );
            }
            let inside = directory(sftp, &from, &to, depth).await?;
            steps.extend(manner.preserve.then_some(Step::Finish { to, attributes }));
            steps.extend(inside.into_iter().rev());
        } else if attributes.is_file() {
            file(sftp, &from, &to, attributes, manner).await?;
        } else {
            return Err(Failure::new(format!("{} is neither a file nor a directory", name())));
        }
    }
    Ok(())
}

/// Makes the directory here and gives what is to go into it.
async fn directory(sftp: &Sftp, from: &[u8], to: &Path, depth: usize) -> Result<Vec<Step>, Failure> {
    if depth >= DEEPEST {
        let name = String::from_utf8_lossy(from);
        return Err(Failure::new(format!("{name}: directories are nested too deep")));
    }
    if !to.is_dir() {
        tokio::fs::create_dir(to).await.map_err(|error| local(to, &error))?;
    }
    let mut steps = Vec::new();
    for (name, entry) in listing(sftp, from).await.map_err(|error| remote(from, &error))? {
        if matches!(name.as_slice(), b"." | b"..") {
            continue;
        }
        let Some(plain) = names::plain(&name) else {
            let shown = String::from_utf8_lossy(&name).into_owned();
            return Err(Failure::new(format!("the host lists a file named {shown:?}, which is refused"))
                .hint("if the name is really that, rename the file on the host"));
        };
        let path = join(from, plain.as_bytes());
        // What a link leads to is copied, as scp does.
        let attributes = match entry.mode.is_some() && (entry.is_directory() || entry.is_file()) {
            true => entry,
            false => sftp.stat(&path).await.map_err(|error| remote(&path, &error))?,
        };
        steps.push(Step::Copy { from: path, to: to.join(plain), attributes, depth: depth + 1 });
    }
    Ok(steps)
}

/// Whole, before anything is copied: a server may allow few open handles.
async fn listing(sftp: &Sftp, path: &[u8]) -> Result<Vec<(Vec<u8>, Attributes)>, SftpError> {
    const MOST: usize = 1_000_000;
    let handle = sftp.open_directory(path).await?;
    let mut all = Vec::new();
    loop {
        let more = sftp.names(&handle).await?;
        if more.is_empty() {
            break;
        }
        all.extend(more);
        if all.len() > MOST {
            return Err(SftpError::Protocol("a directory with more than a million names"));
        }
    }
    sftp.close(handle).await?;
    Ok(all)
}

async fn file(
    sftp: &Sftp,
    from: &[u8],
    to: &Path,
    attributes: Attributes,
    manner: &Manner,
) -> Result<(), Failure> {
    let there = |error: SftpError| remote(from, &error);
    let handle = sftp.open(from, Open::Read).await.map_err(there)?;
    let mode = attributes.permissions().unwrap_or(0o666);
    let opened =
        tokio::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(to).await;
    let mut here = BufWriter::with_capacity(WRITE_BEHIND, opened.map_err(|error| local(to, &error))?);
    let read = contents(sftp, &handle, attributes.size.unwrap_or(0), from, &mut here, to).await?;
    here.flush().await.map_err(|error| local(to, &error))?;
    drop(here);
    sftp.close(handle).await.map_err(there)?;
    if manner.preserve {
        keep(to, attributes).await?;
    }
    manner.progress.copied(to, read);
    Ok(())
}

/// Reads with many requests under way as far as the file is said to reach, then one by one to its true end.
async fn contents(
    sftp: &Sftp,
    handle: &Handle,
    size: u64,
    from: &[u8],
    here: &mut BufWriter<tokio::fs::File>,
    to: &Path,
) -> Result<u64, Failure> {
    let said = stream::iter((0..size).step_by(BLOCK as usize))
        .map(|offset| block(sftp, handle, offset))
        .buffered(AHEAD);
    tokio::pin!(said);
    let mut offset = 0;
    loop {
        let next = match said.next().await {
            Some(block) => block,
            None => block(sftp, handle, offset).await,
        };
        let next = next.map_err(|error| remote(from, &error))?;
        here.write_all(&next).await.map_err(|error| local(to, &error))?;
        offset += next.len() as u64;
        if next.len() < BLOCK as usize {
            return Ok(offset);
        }
    }
}

/// A whole block, or what there is up to the end of the file.
async fn block(sftp: &Sftp, handle: &Handle, offset: u64) -> Result<Vec<u8>, SftpError> {
    let mut block = Vec::new();
    while block.len() < BLOCK as usize {
        let missing = BLOCK - u32::try_from(block.len()).unwrap_or(BLOCK);
        match sftp.read(handle, offset + block.len() as u64, missing).await {
            Ok(data) if block.is_empty() => block = data,
            Ok(data) => block.extend_from_slice(&data),
            Err(error) if error.is_end() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(block)
}

/// Gives a file here the permissions and times that it has there.
async fn keep(to: &Path, attributes: Attributes) -> Result<(), Failure> {
    let path: PathBuf = to.to_owned();
    let set = move || {
        let file = std::fs::File::open(&path)?;
        if let Some(mode) = attributes.permissions() {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        let Some((accessed, modified)) = attributes.times else { return Ok(()) };
        let time = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
        file.set_times(FileTimes::new().set_accessed(time(accessed)).set_modified(time(modified)))
    };
    let done =
        tokio::task::spawn_blocking(set).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|error| local(to, &error))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, slash, name].concat()
}
