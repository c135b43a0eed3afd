//! Whom a TLS connection trusts: the certificates of files, of directories and of the system.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::file_id::{self, FileId};
use super::pem;
use crate::core::failure::InvalidInput;
use crate::core::text;

/// The `verify` argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    System,
    /// The path of a CA file, or of a directory with such files.
    File(PathBuf),
    Off,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The system's store, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead.
    System(SystemStore),
    /// The certificates of one path, and no others.
    File(Arc<CaFile>),
    /// Anyone's: the connection is encrypted, and nothing of the certificate or of its key is checked.
    Anyone,
}

/// The system's store, as the environment names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemStore {
    file: Option<PathBuf>,
    directory: Option<PathBuf>,
}

impl SystemStore {
    pub fn from_env() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { file: path("SSL_CERT_FILE"), directory: path("SSL_CERT_DIR") }
    }

    /// Whether the environment names a store, which takes the place of the system's.
    pub fn is_chosen(&self) -> bool {
        self.file.is_some() || self.directory.is_some()
    }

    /// The certificates of the store's file and directories.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let place = if self.is_chosen() {
            " where SSL_CERT_FILE and SSL_CERT_DIR point"
        } else {
            "; install the package ca-certificates"
        };
        let found = if self.is_chosen() { self.chosen() } else { installed() };
        let found = found.map_err(|error| format!("the CA certificates of this system cannot be read: {error}"))?;
        if found.is_empty() {
            return Err(format!("no CA certificates found on this system{place}, or give verify='/path/to/ca.pem'"));
        }
        Ok(once(found))
    }

    fn chosen(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let mut found = self.file.as_deref().map_or_else(|| Ok(Vec::new()), readable)?;
        for directory in self.directory.iter().flat_map(std::env::split_paths) {
            found.extend(readable_in(&directory)?);
        }
        Ok(found)
    }
}

/// The certificates of a path as they were when read.
#[derive(Debug)]
pub struct CaFile {
    stamp: CaStamp,
    certificates: Vec<CertificateDer<'static>>,
}

/// Detects a changed file, or a change to a directory or to any file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaStamp {
    path: PathBuf,
    is_directory: bool,
    files: Vec<FileId>,
}

impl CaStamp {
    pub fn of(path: &Path) -> Result<Self, InvalidInput> {
        let path = file_id::absolute(path);
        let meta = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
        let files = if meta.is_dir() {
            files(&path).map_err(|error| unreadable(&path, &error))?
        } else {
            vec![FileId::of(path.clone(), &meta)]
        };
        Ok(Self { path, is_directory: meta.is_dir(), files })
    }
}

/// The files of a directory, under whatever name; not those of directories in it.
fn files(directory: &Path) -> io::Result<Vec<FileId>> {
    let paths = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    // Not all can be looked at: a link may lead nowhere.
    let stamps = paths.filter_map(|path| {
        let meta = fs::metadata(&path).ok().filter(|meta| meta.is_file() && meta.len() <= file_id::MAX_FILE_BYTES)?;
        Some(FileId::of(path, &meta))
    });
    let mut files: Vec<_> = stamps.collect();
    files.sort();
    Ok(files)
}

impl CaFile {
    pub fn read(stamp: CaStamp) -> Result<Self, InvalidInput> {
        let mut certificates = Vec::new();
        let mut is_der = false;
        for file in &stamp.files {
            // Not for this user may be a private key beside the certificates.
            let bytes = if stamp.is_directory {
                or_nothing(file_id::read_at_once(&file.path))
            } else {
                file_id::read(&file.path)
            };
            let bytes = bytes.map_err(|error| unreadable(&file.path, &error))?;
            let found: Result<Vec<_>, _> = pem::certificates(&bytes).into_iter().collect();
            certificates.extend(found.map_err(|fault| unreadable(&file.path, &fault))?);
            is_der |= webpki::anchor_from_trusted_cert(&CertificateDer::from(bytes)).is_ok();
        }
        if certificates.is_empty() {
            let kind = if stamp.is_directory { "directory" } else { "file" };
            let advice = if is_der { "; openssl x509 -inform der makes PEM of DER" } else { "" };
            let reason = format!(
                "names a {kind} without a PEM certificate for TLS servers: {}{advice}",
                text::of_path(&stamp.path)
            );
            return Err(InvalidInput::new("verify", reason));
        }
        Ok(Self { stamp, certificates: once(certificates) })
    }

    pub fn stamp(&self) -> &CaStamp {
        &self.stamp
    }

    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

impl PartialEq for CaFile {
    fn eq(&self, other: &Self) -> bool {
        self.stamp == other.stamp
    }
}

impl Eq for CaFile {}

/// Each certificate once: a directory has links to its files, by hash and by name.
fn once(mut certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other));
    certificates.dedup();
    certificates
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> InvalidInput {
    let error = text::escape(&error.to_string());
    InvalidInput::new("verify", format!("names a CA file that cannot be read: {}: {error}", text::of_path(path)))
}

/// Where systems keep their CA certificates in one file. openssl-probe has such a list too, but reads `SSL_CERT_FILE` again
/// beside it, which may have changed since the key of the connections was made.
#[cfg(all(unix, not(target_vendor = "apple")))]
const SYSTEM_FILES: [&str; 8] = [
    "/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, ALT
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL 7 and later, Fedora
    "/etc/pki/tls/certs/ca-bundle.crt",                  // RHEL 6
    "/etc/ssl/ca-bundle.pem",                            // SUSE
    "/etc/ssl/cert.pem",                                 // Alpine, OpenBSD
    "/usr/local/etc/ssl/cert.pem",                       // FreeBSD
    "/usr/local/share/certs/ca-root-nss.crt",            // FreeBSD, DragonFly
    "/etc/openssl/certs/ca-certificates.crt",            // NetBSD
];

/// The certificates of the system's one file, or of its directories if there is none. Debian keeps the same certificates in
/// both, and parsing them twice would double the time of a first call.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn installed() -> io::Result<Vec<CertificateDer<'static>>> {
    let file = SYSTEM_FILES.iter().map(Path::new).find(|path| path.exists());
    let mut found = file.map_or_else(|| Ok(Vec::new()), readable)?;
    if found.is_empty() {
        for directory in openssl_probe::candidate_cert_dirs() {
            found.extend(readable_in(directory)?);
        }
    }
    Ok(found)
}

/// None are in files: the system has a verifier of its own.
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
fn installed() -> io::Result<Vec<CertificateDer<'static>>> {
    Ok(Vec::new())
}

/// What can be read of a file. One certificate that is broken must not cost the others of a system. A store is read in the
/// middle of a handshake, where no signal's handler runs.
fn readable(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = or_nothing(file_id::read_at_once(file))?;
    Ok(pem::certificates(&bytes).into_iter().flatten().collect())
}

fn readable_in(directory: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let mut found = Vec::new();
    for file in or_nothing(files(directory))? {
        found.extend(readable(&file.path)?);
    }
    Ok(found)
}

/// Nothing of a file that is not there, or not for this user. Any other error may pass, such as a want of descriptors: with a
/// part of a store, a good server would be refused.
fn or_nothing<T: Default>(read: io::Result<T>) -> io::Result<T> {
    match read {
        Err(error) if PERMANENT.contains(&error.kind()) => Ok(T::default()),
        read => read,
    }
}

const PERMANENT: [io::ErrorKind; 4] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::NotADirectory,
    io::ErrorKind::IsADirectory,
];
