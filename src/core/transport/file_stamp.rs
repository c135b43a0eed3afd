//! Detects that a file has changed since it was read.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Two equal stamps are of the same content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileStamp {
    pub path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
    identity: Identity,
}

/// A copy that keeps length and modification time (`cp -p`) cannot keep these: device, inode, time of the last change.
#[cfg(unix)]
type Identity = (u64, u64, i64, i64);

/// Of what a new file in the place of the old one cannot keep, Rust's stable library tells this: the time of its creation.
#[cfg(not(unix))]
type Identity = Option<SystemTime>;

impl FileStamp {
    pub fn of(path: PathBuf, meta: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            path,
            length: meta.len(),
            modified: meta.modified().ok(),
            #[cfg(unix)]
            identity: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
            #[cfg(not(unix))]
            identity: meta.created().ok(),
        }
    }
}

/// The path that the working directory of this moment gives to a relative one. An absolute one stays as it is spelt.
pub fn absolute(path: &Path) -> PathBuf {
    let absolute = if path.is_absolute() { None } else { std::path::absolute(path).ok() };
    absolute.unwrap_or_else(|| path.to_owned())
}
