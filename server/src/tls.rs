//! TLS of this node: for its clients, and between it and its peers.
//!
//! One set of files (certificate, key, authorities) serves both. The contexts made of them are
//! replaced as a whole: a connection takes the current ones when it is made and keeps them; files
//! that are no good change nothing. They are read anew by CONFIG SET of any of their settings, and
//! when the files have changed on disk. Redis's names and words are kept; what is wrong is traced,
//! with the name of the file and never with what is in it. What is verified of a certificate:
//! [`verify`].

mod files;
#[cfg(test)]
mod tests;
mod verify;

use crate::config::{AuthClients, Disagreement, Settings, Values};
use crate::limits::TLS_FILES_LOOK_INTERVAL;
use arc_swap::ArcSwapOption;
use files::Material;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

/// What is wrong with files or settings of TLS; names files, never quotes them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TlsError(String);

/// What connections are made with.
struct Contexts {
    clients: TlsAcceptor,
    /// None without authorities: nobody could be verified.
    peers: Option<Peers>,
}

struct Peers {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// The current contexts; see the module.
#[derive(Default)]
pub(crate) struct Tls {
    contexts: ArcSwapOption<Contexts>,
    /// The files that were looked at last.
    seen: Mutex<Option<files::Fingerprint>>,
}

impl Tls {
    /// Reads the files if the settings use TLS, and again whenever CONFIG SET touches them.
    ///
    /// # Errors
    /// The settings use TLS and the files are no good.
    pub(crate) fn start(settings: &Settings) -> Result<Arc<Tls>, TlsError> {
        let tls = Arc::new(Tls::default());
        tls.read(&settings.load())?;
        let own = tls.clone();
        settings.ask_before_change(Box::new(move |values, names| own.agree(values, names)));
        Ok(tls)
    }

    /// What accepts clients; None: this node does not use TLS.
    pub(crate) fn client_acceptor(&self) -> Option<TlsAcceptor> {
        self.contexts.load().as_ref().map(|contexts| contexts.clients.clone())
    }

    /// What accepts peers.
    pub(crate) fn peer_acceptor(&self) -> io::Result<TlsAcceptor> {
        let contexts = self.contexts.load();
        let peers = contexts.as_ref().and_then(|contexts| contexts.peers.as_ref());
        peers.map(|peers| peers.acceptor.clone()).ok_or_else(no_authority)
    }

    /// What connects to peers.
    pub(crate) fn connector(&self) -> io::Result<TlsConnector> {
        let contexts = self.contexts.load();
        let peers = contexts.as_ref().and_then(|contexts| contexts.peers.as_ref());
        peers.map(|peers| peers.connector.clone()).ok_or_else(no_authority)
    }

    /// Reads the files when they have changed on disk; runs until the node stops, if it uses TLS.
    pub(crate) async fn watch(self: Arc<Self>, settings: Arc<Settings>, stop: CancellationToken) {
        while settings.load().uses_tls() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TLS_FILES_LOOK_INTERVAL) => {}
            }
            let (own, settings) = (self.clone(), settings.clone());
            crate::tasks::blocking(move || own.look(&settings)).await;
        }
    }

    /// Reads the files if they have changed since they were last looked at.
    fn look(&self, settings: &Settings) {
        let values = settings.load().clone();
        if *self.seen.lock() != Some(files::fingerprint(&values)) {
            // What is wrong was traced. It is tried again when the files change again.
            let _ = settings.ask_again(&BTreeSet::from(["tls-cert-file"]));
        }
    }

    /// What CONFIG SET asks.
    fn agree(&self, values: &Values, names: &BTreeSet<&'static str>) -> Result<(), Disagreement> {
        if !values.uses_tls() || !names.iter().any(|name| name.starts_with(PREFIX)) {
            return Ok(());
        }
        let read = self.read(values);
        read.map(|()| tracing::info!("read the files of TLS")).map_err(|error| {
            tracing::warn!(%error, "the files of TLS are no good; the old certificates stay");
            Disagreement { prefix: PREFIX, reason: REFUSED }
        })
    }

    /// Reads all files and makes what they say current.
    fn read(&self, values: &Values) -> Result<(), TlsError> {
        if values.uses_tls() {
            // Files that change while they are read are looked at again.
            *self.seen.lock() = Some(files::fingerprint(values));
            self.contexts.store(Some(Arc::new(contexts(values)?)));
        }
        Ok(())
    }
}

/// The name that a connection to `address` (`host:port`) asks for; it is not verified.
pub(crate) fn server_name(address: &str) -> ServerName<'static> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let unnamed = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
    ServerName::try_from(host).unwrap_or(unnamed)
}

fn contexts(values: &Values) -> Result<Contexts, TlsError> {
    let Material { chain, key, roots } = files::read(values)?;
    let asks = values.tls_auth_clients != AuthClients::No;
    let roots = match roots {
        Some(roots) => Some(Arc::new(roots)),
        None if asks || values.tls_replication => {
            let why =
                "tls-auth-clients and tls-replication need tls-ca-cert-file or tls-ca-cert-dir";
            return Err(TlsError(why.to_owned()));
        }
        None => None,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = versions(&values.tls_protocols)?;
    let failed = |error: &dyn std::fmt::Display| TlsError(error.to_string());
    let unusable = |error: rustls::Error| {
        TlsError(format!("{} with {}: {error}", values.tls_cert_file, values.tls_key_file))
    };
    let server = |verifier| {
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&versions).map_err(|error| failed(&error))?;
        let builder = builder.with_client_cert_verifier(verifier);
        let config = builder.with_single_cert(chain.clone(), key.clone_key()).map_err(unusable)?;
        Ok::<_, TlsError>(TlsAcceptor::from(Arc::new(config)))
    };
    let verifier = match (&roots, values.tls_auth_clients) {
        (Some(roots), AuthClients::Yes | AuthClients::Optional) => {
            let builder =
                WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
            let builder = match values.tls_auth_clients {
                AuthClients::Optional => builder.allow_unauthenticated(),
                AuthClients::Yes | AuthClients::No => builder,
            };
            builder.build().map_err(|error| failed(&error))?
        }
        _ => WebPkiClientVerifier::no_client_auth(),
    };
    let clients = server(verifier)?;
    let Some(roots) = roots else { return Ok(Contexts { clients, peers: None }) };
    let verifier = verify::PeerVerifier::new(roots, provider.clone())?;
    if values.tls_replication {
        let own = verifier.check_own(&chain);
        own.map_err(|error| {
            TlsError(format!("{}: no peer takes it: {error}", values.tls_cert_file))
        })?;
    }
    let verifier = Arc::new(verifier);
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&versions).map_err(|error| failed(&error))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier.clone());
    let connector =
        builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(unusable)?;
    let connector = TlsConnector::from(Arc::new(connector));
    Ok(Contexts { clients, peers: Some(Peers { acceptor: server(verifier)?, connector }) })
}

fn versions(text: &str) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let version = |word: &str| match word.to_ascii_lowercase().as_str() {
        "tlsv1.2" => Ok(&TLS12),
        "tlsv1.3" => Ok(&TLS13),
        _ => Err(TlsError("tls-protocols knows TLSv1.2 and TLSv1.3 only".to_owned())),
    };
    match text.trim().is_empty() {
        true => Ok(vec![&TLS12, &TLS13]),
        false => text.split_whitespace().map(version).collect(),
    }
}

fn no_authority() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "without tls-ca-cert-file no peer can be verified")
}

/// What the names of the settings start with.
const PREFIX: &str = "tls-";

/// Redis's words.
const REFUSED: &str = "Unable to update TLS configuration. Check server logs.";

/// The algorithms in use.
type Provider = Arc<CryptoProvider>;
