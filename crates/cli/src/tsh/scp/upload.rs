//! From here to a host.

use super::{AHEAD, BLOCK, DEEPEST, Manner, local, remote};
use crate::Failure;
use crate::tsh::sftp::{Attributes, Handle, Open, Sftp, SftpError};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, BufReader};

/// How much is read from the disk at once.
const READ_AHEAD: usize = 1 << 20;

/// Copies `sources` to `path`: into it when it is a directory, else as it.
pub(super) async fn run(
    sftp: &Sftp,
    sources: &[PathBuf],
    path: &str,
    manner: &Manner,
) -> Result<(), Failure> {
    let path = path.as_bytes();
    let into = match sftp.stat(path).await {
        Ok(attributes) => attributes.is_directory(),
        Err(error) if error.is_missing() => false,
        Err(error) => return Err(remote(path, &error)),
    };
    if sources.len() > 1 && !into {
        return Err(Failure::new(format!("{}: not a directory on the host", String::from_utf8_lossy(path)))
            .hint("several files can only be copied into a directory that is there"));
    }
    for source in sources {
        let to = match (into, source.file_name()) {
            (true, Some(name)) => join(path, name.as_bytes()),
            // `..` and `/` have no name of their own; their contents go where they are sent.
            (true, None) | (false, _) => path.to_vec(),
        };
        let first = Step::Copy { from: source.clone(), to, depth: 0 };
        all(sftp, first, manner).await?;
    }
    Ok(())
}

/// What is still to be done. A list and not calls within calls, as on the way down.
enum Step {
    /// A file or a directory with everything in it.
    Copy { from: PathBuf, to: Vec<u8>, depth: usize },
    /// A directory that has everything in it.
    Finish { to: Vec<u8>, attributes: Attributes },
}

async fn all(sftp: &Sftp, first: Step, manner: &Manner) -> Result<(), Failure> {
    let mut steps = vec![first];
    while let Some(step) = steps.pop() {
        let (from, to, depth) = match step {
            Step::Finish { to, attributes } => {
                sftp.set_path(&to, attributes).await.map_err(|error| remote(&to, &error))?;
                continue;
            }
            Step::Copy { from, to, depth } => (from, to, depth),
        };
        let metadata = tokio::fs::metadata(&from).await.map_err(|error| local(&from, &error))?;
        if metadata.is_dir() {
            if !manner.recursive {
                return Err(Failure::new(format!("{} is a directory", from.display()))
                    .hint("use -r to copy directories"));
            }
            let inside = directory(sftp, &from, &to, &metadata, depth).await?;
            steps.extend(manner.preserve.then(|| Step::Finish { to, attributes: kept(&metadata) }));
            steps.extend(inside);
        } else if metadata.is_file() {
            file(sftp, &from, &to, &metadata, manner).await?;
        } else {
            return Err(Failure::new(format!("{} is neither a file nor a directory", from.display())));
        }
    }
    Ok(())
}

/// Makes the directory there and gives what is to go into it.
async fn directory(
    sftp: &Sftp,
    from: &Path,
    to: &[u8],
    metadata: &Metadata,
    depth: usize,
) -> Result<Vec<Step>, Failure> {
    if depth >= DEEPEST {
        return Err(Failure::new(format!("{}: directories are nested too deep", from.display()))
            .hint("is there a link that leads back?"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    // Writable until everything is in it.
    if let Err(error) = sftp.make_directory(to, mode | 0o700).await
        && !sftp.stat(to).await.is_ok_and(|there| there.is_directory())
    {
        return Err(remote(to, &error));
    }
    let mut entries = tokio::fs::read_dir(from).await.map_err(|error| local(from, &error))?;
    let mut steps = Vec::new();
    while let Some(entry) = entries.next_entry().await.map_err(|error| local(from, &error))? {
        let to = join(to, entry.file_name().as_bytes());
        steps.push(Step::Copy { from: entry.path(), to, depth: depth + 1 });
    }
    Ok(steps)
}

async fn file(
    sftp: &Sftp,
    from: &Path,
    to: &[u8],
    metadata: &Metadata,
    manner: &Manner,
) -> Result<(), Failure> {
    let opened = tokio::fs::File::open(from).await.map_err(|error| local(from, &error))?;
    let mode = metadata.permissions().mode() & 0o777;
    let there = |error: SftpError| remote(to, &error);
    let handle = sftp.open(to, Open::Write(mode)).await.map_err(there)?;
    let written = contents(sftp, &handle, opened, from, to).await?;
    if manner.preserve {
        sftp.set(&handle, kept(metadata)).await.map_err(there)?;
    }
    sftp.close(handle).await.map_err(there)?;
    manner.progress.copied(from, written);
    Ok(())
}

/// Writes with many requests under way; their order does not matter, each has its place.
async fn contents(
    sftp: &Sftp,
    handle: &Handle,
    file: tokio::fs::File,
    from: &Path,
    to: &[u8],
) -> Result<u64, Failure> {
    let mut file = BufReader::with_capacity(READ_AHEAD, file);
    let mut offset = 0;
    let mut writing = FuturesUnordered::new();
    loop {
        let mut block = Vec::with_capacity(BLOCK as usize);
        let read = (&mut file).take(u64::from(BLOCK)).read_to_end(&mut block).await;
        read.map_err(|error| local(from, &error))?;
        let length = block.len() as u64;
        let last = length < u64::from(BLOCK);
        if length > 0 {
            let at = offset;
            writing.push(async move { sftp.write(handle, at, &block).await });
            offset += length;
        }
        while writing.len() >= AHEAD || (last && !writing.is_empty()) {
            if let Some(Err(error)) = writing.next().await {
                return Err(remote(to, &error));
            }
        }
        if last {
            return Ok(offset);
        }
    }
}

fn kept(metadata: &Metadata) -> Attributes {
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    Attributes {
        size: None,
        mode: Some(metadata.permissions().mode() & 0o777),
        times: Some((seconds(metadata.atime()), seconds(metadata.mtime()))),
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.ends_with(b"/") { b"" } else { b"/" };
    [directory, slash, name].concat()
}
