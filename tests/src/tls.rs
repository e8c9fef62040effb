//! Authorities and certificates made for a test, and clients that show and verify them.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a handshake, a read or a write of [`connect`] may take.
const WAIT: Duration = Duration::from_secs(20);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A node: it serves clients and peers, and connects to peers.
    Node,
    /// A client only.
    Client,
}

/// An authority, with the directory that its certificates are written to.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// The file of its own certificate.
    pub certificate: PathBuf,
}

/// A certificate with its key, as PEM, and where the files are.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new one; its name is also that of its files in `dir`.
    pub fn new(dir: &Path, name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        let certificate = dir.join(format!("{name}.crt"));
        fs::write(&certificate, own.pem()).expect("a file");
        Authority { dir: dir.to_owned(), issuer: Issuer::new(params, key), certificate }
    }

    /// Issues a certificate, and writes it over the one of the same name.
    pub fn issue(&self, name: &str, usage: Usage) -> Certificate {
        let mut params = params(name);
        params.extended_key_usages = match usage {
            Usage::Node => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let key = KeyPair::generate().expect("a key");
        let issued = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = Certificate {
            certificate: self.dir.join(format!("{name}.crt")),
            key: self.dir.join(format!("{name}.key")),
        };
        fs::write(&files.certificate, issued.pem()).expect("a file");
        fs::write(&files.key, key.serialize_pem()).expect("a file");
        files
    }

    /// Settings of a node that shows this certificate and trusts this authority.
    pub fn settings(&self, certificate: &Certificate) -> Vec<String> {
        vec![
            format!("tls-cert-file={}", certificate.certificate.display()),
            format!("tls-key-file={}", certificate.key.display()),
            format!("tls-ca-cert-file={}", self.certificate.display()),
        ]
    }

    /// A client that trusts this authority, and shows this certificate or none.
    pub fn client(&self, shown: Option<&Certificate>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(&self.certificate).expect("a certificate");
        roots.add(own).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let builder = builder.with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(Certificate { certificate, key }) => {
                let chain =
                    vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
                let key = PrivateKeyDer::from_pem_file(key).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a key of the certificate")
            }
        })
    }
}

fn params(name: &str) -> CertificateParams {
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut params = CertificateParams::new(names).expect("names of hosts");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Connects to `addr` (`ip:port`) and shakes hands.
///
/// # Errors
/// Any error of the sockets or of TLS. A server that refuses the client's certificate may say so
/// only at the first read.
pub fn connect(
    addr: &str,
    config: Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.set_write_timeout(Some(WAIT))?;
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}
