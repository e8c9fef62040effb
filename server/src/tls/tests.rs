//! Names, versions, and what is refused before any connection.

use super::*;

#[test]
fn versions_are_those_that_are_named() {
    let versions = |text: &str| versions(text).map(|versions| versions.len());
    assert_eq!(versions(""), Ok(2));
    assert_eq!(versions("tlsv1.2"), Ok(1));
    assert_eq!(versions(" TLSv1.2  TLSv1.3 "), Ok(2));
    assert!(versions("TLSv1.1 TLSv1.2").is_err());
}

#[test]
fn every_address_has_a_name_to_ask_for() {
    let check = |address: &str, expected: &str| {
        assert_eq!(server_name(address).to_str(), expected, "{address}");
    };
    check("10.0.0.1:6379", "10.0.0.1");
    check("node-1.example:16379", "node-1.example");
    check("[::1]:6379", "::1");
    check("not a name:1", "0.0.0.0");
}

fn started(flags: &[(&str, &str)]) -> Result<Arc<Tls>, String> {
    let flags: Vec<(String, String)> =
        flags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let settings = Settings::from_sources(None, [], &flags).map_err(|error| error.to_string())?;
    Tls::start(&settings).map_err(|error| error.to_string())
}

#[test]
fn what_is_missing_is_named_and_nothing_of_a_file_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
        .unwrap();
    let file = file.to_str().unwrap();
    let check = |flags: &[(&str, &str)], expected: &str| {
        let error = started(flags).map(drop).unwrap_err();
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    };
    let port = ("tls-port", "1");
    check(&[port], "tls-cert-file is not set");
    check(&[("tls-replication", "yes")], "tls-cert-file is not set");
    check(&[port, ("tls-cert-file", "/none")], "/none: No such file");
    check(&[port, ("tls-cert-file", file)], "no certificate as PEM");
    check(&[("tls-port", "6379")], "give port 0 to 'listen'");
    let joins = [port, ("tls-replication", "yes"), ("join", "10.0.0.1:1")];
    check(&joins, "join by TLS needs tls-ca-cert-file");
    assert!(started(&[("tls-cert-file", "/none")]).is_ok(), "TLS is not used");
}

#[test]
fn config_set_asks_only_where_tls_is_used() {
    let settings = Settings::default();
    let tls = Tls::start(&settings).unwrap();
    assert_eq!(settings.set(&[("tls-cert-file", "/none")]), Ok(()), "as in Redis");
    assert!(tls.client_acceptor().is_none());
    assert!(tls.connector().is_err() && tls.peer_acceptor().is_err());
}
