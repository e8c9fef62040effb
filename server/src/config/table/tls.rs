//! Settings of TLS: names, defaults and words as in Redis, but for what only Kvorum has.

use super::count;
use crate::config::kind::Kind;
use crate::config::setting::{Setting, row};
use crate::config::values::*;

pub(super) static TLS: &[Setting] = &[
    row(
        "tls-port",
        "0",
        count(0, 65_535, |v| &mut v.tls_port),
        "Port of 'listen' where clients connect by TLS; 0: none. With it, port 0 of 'listen' means \
         that no client is served without TLS.",
    )
    .at_start(),
    row(
        "advertise-tls-port",
        "0",
        count(0, 65_535, |v| &mut v.advertise_tls_port),
        "The port that clients and members are told for TLS, when it is not 'tls-port'; 0: it is.",
    )
    .at_start(),
    row(
        "tls-cert-file",
        "",
        Kind::Text { field: |v| &mut v.tls_cert_file },
        "This node's certificate and those between it and the authority, as PEM. Setting it, also \
         to the same name, reads all files anew.",
    ),
    row(
        "tls-key-file",
        "",
        Kind::Text { field: |v| &mut v.tls_key_file },
        "The private key of the certificate, as PEM without a password.",
    ),
    row(
        "tls-ca-cert-file",
        "",
        Kind::Text { field: |v| &mut v.tls_ca_cert_file },
        "Certificates of the authorities that clients and peers are verified against, as PEM.",
    ),
    row(
        "tls-ca-cert-dir",
        "",
        Kind::Text { field: |v| &mut v.tls_ca_cert_dir },
        "Directory of files with certificates of further authorities, as PEM.",
    ),
    row(
        "tls-auth-clients",
        "yes",
        Kind::Choice {
            names: &AuthClients::NAMES,
            get: |values| values.tls_auth_clients as usize,
            set: |values, position| values.tls_auth_clients = AuthClients::ALL[position],
        },
        "Whether clients that connect by TLS have to show a certificate of the authorities.",
    ),
    row(
        "tls-replication",
        "no",
        Kind::Boolean { field: |v| &mut v.tls_replication },
        "Members speak mutual TLS with each other: each shows its certificate and verifies the \
         other's. The same on all members.",
    )
    .alias("tls-cluster")
    .at_start(),
    row(
        "tls-protocols",
        "",
        Kind::Text { field: |v| &mut v.tls_protocols },
        "Versions to speak, of TLSv1.2 and TLSv1.3, separated by spaces; empty: both.",
    ),
];
