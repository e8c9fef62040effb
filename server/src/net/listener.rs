//! Accepts clients: the limit of clients, protected mode, socket options.

use crate::limits::{ACCEPTS_PER_TURN, DESCRIPTORS_RESERVED};
use crate::net::connection;
use crate::net::handshake::{Handshakes, Pending, shake_hands};
use crate::net::threads::{ConnectionThreads, Thread};
use crate::node_control::NodeControl;
use crate::server::Server;
use crate::stream::{self, Encrypted};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Binds a listener at `host:port`, with the pending connections that the kernel may hold.
pub(crate) async fn bind(address: &str, backlog: u32) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no such address");
    for address in addresses {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(backlog)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(io::Error::new(failed.kind(), format!("{address}: {failed}")))
}

/// Descriptors that are asked for where the system sets no bound.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// Descriptors that room is made for before there are clients.
const DESCRIPTORS_PREPARED_MAX: u64 = 1 << 16;

/// Asks the system for all descriptors that it gives, and returns how many clients may have, beside
/// those of files and peers: without any left, files could not be opened either.
pub(crate) fn clients_with_descriptors(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (now, most) = (limit.current.unwrap_or(DESCRIPTORS_MAX), limit.maximum);
    let more = most.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
    let raised = Rlimit { current: Some(more), maximum: most };
    let given = match now < more && setrlimit(Resource::Nofile, raised).is_ok() {
        true => more,
        false => now,
    };
    let clients_max = given.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    if clients_max < wanted {
        tracing::warn!(clients_max, descriptors = given, "fewer clients than 'maxclients'");
    }
    make_room_for_descriptors(wanted.min(clients_max) + DESCRIPTORS_RESERVED);
    clients_max
}

/// Lets the system grow the process's table of descriptors now rather than when clients come: each
/// time it doubles, a process with several threads waits for tens of milliseconds, all clients with it.
fn make_room_for_descriptors(count: u64) {
    let highest = count.min(DESCRIPTORS_PREPARED_MAX) as i32 - 1;
    // Opened and closed again: the table stays as large. Without it clients connect all the same.
    if let Err(error) = fcntl_dupfd_cloexec(std::io::stderr(), highest) {
        tracing::debug!(%error, "no room made for descriptors");
    }
}

/// Accepts clients without TLS until the node stops.
pub(crate) async fn run(
    server: Arc<Server>,
    listener: TcpListener,
    threads: Arc<ConnectionThreads>,
) {
    accept_all(server, listener, threads, None).await;
}

/// Accepts clients by TLS until the node stops.
pub(crate) async fn run_tls(
    server: Arc<Server>,
    listener: TcpListener,
    threads: Arc<ConnectionThreads>,
) {
    accept_all(server, listener, threads, Some(Arc::default())).await;
}

async fn accept_all(
    server: Arc<Server>,
    listener: TcpListener,
    threads: Arc<ConnectionThreads>,
    handshakes: Option<Arc<Handshakes>>,
) {
    let mut in_turn = 0;
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                let remote = as_known(remote);
                accept(&server, &threads, stream, remote, handshakes.as_ref());
                in_turn += 1;
                if in_turn == ACCEPTS_PER_TURN {
                    in_turn = 0;
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: give connections time to end.
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A client's address as protected mode judges it and as lists show it: a listener for both families
/// gives addresses of IPv4 as parts of IPv6, where loopback is not recognised.
fn as_known(remote: SocketAddr) -> SocketAddr {
    SocketAddr::new(remote.ip().to_canonical(), remote.port())
}

/// Whether protected mode keeps a client away; see [`PROTECTED`].
fn is_protected_from(remote: SocketAddr, mode: bool, default_user_is_open: bool) -> bool {
    mode && default_user_is_open && !remote.ip().is_loopback()
}

fn accept(
    server: &Arc<Server>,
    threads: &Arc<ConnectionThreads>,
    stream: TcpStream,
    remote: SocketAddr,
    handshakes: Option<&Arc<Handshakes>>,
) {
    let values = server.settings.load();
    server.metrics.connections_received.increment();
    let clients_max = values.maxclients.min(server.clients_max);
    let refusal = if server.clients.connected() as u64 >= clients_max {
        Some("-ERR max number of clients reached\r\n")
    } else {
        let is_open = server.users().default_is_open(&values.requirepass);
        is_protected_from(remote, values.protected_mode, is_open).then_some(PROTECTED)
    };
    if let Some(refusal) = refusal {
        server.metrics.connections_rejected.increment();
        if handshakes.is_none() {
            crate::tasks::spawn(refuse(stream, refusal));
            return;
        }
        // As in Redis: no handshake is made for it, so it cannot be told why.
        if refusal != PROTECTED {
            return;
        }
    }
    let keepalive = Duration::from_secs(values.tcp_keepalive_s);
    let own = server.clone();
    let served = set_options(&stream, keepalive).and_then(|()| match handshakes {
        None => {
            let threads = threads.clone();
            place(threads.clone().of_new_client(false), stream, move |stream| {
                connection::serve(own, threads, stream, remote)
            })
        }
        Some(handshakes) => {
            let pending = Pending::begin(own.clone(), handshakes.clone());
            place(threads.of_new_client(true), stream, move |stream| async move {
                match (shake_hands(stream, remote, pending).await, refusal) {
                    (Some(stream), None) => connection::serve_encrypted(own, stream, remote).await,
                    (Some(stream), Some(refusal)) => refuse_encrypted(stream, refusal).await,
                    (None, _) => {}
                }
            })
        }
    });
    if let Err(error) = served {
        tracing::debug!(%error, "a client went away at once");
    }
}

/// Serves a client on `thread`, or on this one. An error: the socket is unusable.
fn place<Served>(
    thread: Option<&Thread>,
    stream: TcpStream,
    serve: impl FnOnce(TcpStream) -> Served + Send + 'static,
) -> io::Result<()>
where
    Served: Future<Output = ()> + Send + 'static,
{
    let Some(thread) = thread else {
        crate::tasks::spawn(serve(stream));
        return Ok(());
    };
    thread.serve(stream, |stream| async {
        match stream {
            Ok(stream) => serve(stream).await,
            Err(error) => tracing::warn!(%error, "a client could not be served"),
        }
    })
}

fn set_options(stream: &TcpStream, keepalive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if keepalive > Duration::ZERO {
        // As Redis: three probes, spread over the last third of the time.
        let third = (keepalive / 3).max(Duration::from_secs(1));
        let keepalive =
            TcpKeepalive::new().with_time(keepalive).with_interval(third).with_retries(3);
        SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

async fn refuse(mut stream: TcpStream, why: &'static str) {
    // The client is refused whether or not it hears the reason.
    drop(tokio::time::timeout(Duration::from_secs(1), stream.write_all(why.as_bytes())).await);
}

async fn refuse_encrypted(stream: Encrypted, why: &'static str) {
    let (_, mut write) = stream::encrypted(stream);
    // As above.
    drop(tokio::time::timeout(Duration::from_secs(1), write.write(why.as_bytes())).await);
    write.finish().await;
}

const PROTECTED: &str = "-DENIED Kvorum is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. If you want to connect from external computers, you may adopt one of \
the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET \
protected-mode no' from the loopback interface by connecting from the same host the server is \
running, however MAKE SURE it is not publicly accessible from internet if you do so. 2) Set a \
password with 'CONFIG SET requirepass', and use it in your clients.\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_mode_keeps_away_who_is_not_of_this_machine_unless_there_is_a_password() {
        let judged = |address: &str, mode, is_open| {
            is_protected_from(as_known(address.parse().unwrap()), mode, is_open)
        };
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(!judged(local, true, true), "{local}");
        }
        let others =
            ["10.0.0.1:1", "192.168.1.1:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1", "[::]:1"];
        for other in others {
            assert!(judged(other, true, true), "{other}");
            assert!(!judged(other, false, true) && !judged(other, true, false), "{other}");
        }
    }

    #[test]
    fn the_table_of_descriptors_has_room_before_clients_come() {
        let clients = clients_with_descriptors(10_000).min(10_000);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        let room: u64 = line.trim().parse().unwrap();
        assert!(room >= clients, "{room} places for {clients} clients");
    }
}
