//! Reads a file of certificates or keys, and detects that it has changed since.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::core::text;

/// No larger file is read: certificates have 2 KiB, the bundles of systems 300 KiB, and a device may have no end.
pub const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Two equal ids are of the same content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    pub path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    /// Device, inode, time of the last change: a copy that keeps length and modification time (`cp -p`) cannot keep these.
    #[cfg(unix)]
    identity: (u64, u64, i64, i64),
    /// Creation time: the one property in Rust's stable library that a replaced file cannot keep.
    #[cfg(not(unix))]
    identity: Option<SystemTime>,
    /// A number of its own for what is no regular file: what such a file gives next is not known.
    number: Option<u64>,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl FileId {
    pub fn of(path: PathBuf, meta: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            path,
            length: meta.len(),
            modified: meta.modified().ok(),
            number: (!meta.is_file()).then(|| NUMBER.fetch_add(1, Ordering::Relaxed)),
            #[cfg(unix)]
            identity: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
            #[cfg(not(unix))]
            identity: meta.created().ok(),
        }
    }
}

/// Whether the reading of a path may wait for somebody: it is a FIFO, a terminal or another device.
pub fn may_block(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// The content of a file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata().map_or(0, |meta| meta.len().min(MAX_FILE_BYTES));
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_FILE_BYTES) {
        return Ok(content);
    }
    Err(io::Error::new(ErrorKind::FileTooLarge, format!("larger than {} MiB", MAX_FILE_BYTES >> 20)))
}

/// The content of a file, unless the reading may wait for somebody.
pub fn read_at_once(path: &Path) -> io::Result<Vec<u8>> {
    if may_block(path) {
        return Err(io::Error::other(format!("{} is no regular file", text::of_path(path))));
    }
    read(path)
}

/// The path that the working directory of this moment gives to a relative one. An absolute one stays as it is spelt.
pub fn absolute(path: &Path) -> PathBuf {
    let absolute = if path.is_absolute() { None } else { std::path::absolute(path).ok() };
    absolute.unwrap_or_else(|| path.to_owned())
}
