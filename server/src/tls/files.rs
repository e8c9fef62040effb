//! The files of TLS: certificates and a key, as PEM.
//!
//! Errors name the file and what is wrong with it, never what is in it.

use super::TlsError;
use crate::config::Values;
use crate::limits::{TLS_FILE_BYTES_MAX, TLS_FILES_MAX};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What the files hold.
pub(super) struct Material {
    /// This node's certificate first, then those between it and the authority.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub(super) key: PrivateKeyDer<'static>,
    /// The authorities; None: no file of them is named.
    pub(super) roots: Option<RootCertStore>,
}

/// Tells whether files have changed: of each its name, time, length and number.
pub(super) type Fingerprint = Vec<(PathBuf, Option<(SystemTime, u64, u64)>)>;

/// The files as they are now.
pub(super) fn fingerprint(values: &Values) -> Fingerprint {
    let named = [&values.tls_cert_file, &values.tls_key_file, &values.tls_ca_cert_file];
    let named = named.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from);
    // A directory that cannot be read is noticed when its files are.
    let listed = list(&values.tls_ca_cert_dir).unwrap_or_default();
    let files = named.chain(listed);
    let look = |path: PathBuf| {
        let known = fs::metadata(&path).ok();
        let known =
            known.and_then(|known| Some((known.modified().ok()?, known.len(), known.ino())));
        (path, known)
    };
    files.map(look).collect()
}

/// Reads all files that the settings name.
pub(super) fn read(values: &Values) -> Result<Material, TlsError> {
    let named = |setting: &str, name: &str| match name.is_empty() {
        true => Err(TlsError(format!("{setting} is not set"))),
        false => Ok(PathBuf::from(name)),
    };
    let certificate = named("tls-cert-file", &values.tls_cert_file)?;
    let chain = certificates(&certificate)?;
    let key_file = named("tls-key-file", &values.tls_key_file)?;
    let bytes = bytes(&key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let why = "no private key as PEM without a password";
        wrong(&key_file, why)
    })?;
    let mut authorities = Vec::new();
    if !values.tls_ca_cert_file.is_empty() {
        authorities.push(PathBuf::from(&values.tls_ca_cert_file));
    }
    authorities.extend(list(&values.tls_ca_cert_dir)?);
    let mut roots = RootCertStore::empty();
    for path in &authorities {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| wrong(path, error))?;
        }
    }
    Ok(Material { chain, key, roots: (!authorities.is_empty()).then_some(roots) })
}

/// The files of a directory, in order; none when there is no name.
fn list(dir: &str) -> Result<Vec<PathBuf>, TlsError> {
    if dir.is_empty() {
        return Ok(Vec::new());
    }
    let dir = Path::new(dir);
    let entries = fs::read_dir(dir).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.take(TLS_FILES_MAX + 1).collect::<io::Result<Vec<_>>>()
    });
    let mut files = entries.map_err(|error| wrong(dir, error))?;
    if files.len() > TLS_FILES_MAX {
        return Err(wrong(dir, format!("more than {TLS_FILES_MAX} files")));
    }
    files.retain(|path| path.is_file());
    files.sort();
    match files.is_empty() {
        true => Err(wrong(dir, "no file of certificates")),
        false => Ok(files),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = bytes(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(wrong(path, "no certificate as PEM")),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| wrong(path, error))?;
    let read = file.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    match read {
        Ok(count) if count as u64 > TLS_FILE_BYTES_MAX => Err(wrong(path, "too long")),
        Ok(_) => Ok(bytes),
        Err(error) => Err(wrong(path, error)),
    }
}

fn wrong(path: &Path, why: impl std::fmt::Display) -> TlsError {
    TlsError(format!("{}: {why}", path.display()))
}
