//! One client's connection: reads all it can, executes the pipeline, writes the replies at once.
//!
//! It may move to another thread once, between two requests: all that it knows goes along, and the
//! client notices nothing.

use crate::clients::{Client, MonitorFeed};
use crate::dispatch;
use crate::dispatch::outgoing::Outgoing;
use crate::limits::{PIPELINE_BATCH_REQUESTS, PIPELINE_REQUESTS_MIN, TURN_BYTES};
use crate::net::threads::{ConnectionThreads, Thread};
use crate::node_control::NodeControl;
use crate::server::Server;
use crate::session::Session;
use crate::stream::{self, Encrypted, Reader, Writer};
use bytes::BytesMut;
use protocol::{ProtocolError, Request, ScanLimits, Scanner};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;

/// Serves a client without TLS until it leaves, is killed, or the node stops; on another of `threads`
/// if that is better when it sends pipelines.
pub(crate) async fn serve(
    server: Arc<Server>,
    threads: Arc<ConnectionThreads>,
    stream: TcpStream,
    remote: SocketAddr,
) {
    let socket = Socket::of(&stream, remote, false);
    let (read, write) = stream::plain(stream);
    let mut connection = Connection::begin(server, socket, read, write);
    connection.threads = Some(threads);
    connection.serve().await;
}

/// As [`serve`], for a client whose TLS handshake is done.
pub(crate) async fn serve_encrypted(server: Arc<Server>, stream: Encrypted, remote: SocketAddr) {
    let socket = Socket::of(&stream.get_ref().0.0, remote, true);
    let (read, write) = stream::encrypted(stream);
    Connection::begin(server, socket, read, write).serve().await;
}

/// What is known of a connection beside its bytes.
struct Socket {
    local: String,
    remote: String,
    descriptor: i32,
    tls: bool,
}

impl Socket {
    fn of(stream: &TcpStream, remote: SocketAddr, tls: bool) -> Self {
        let local = stream.local_addr().map_or_else(|_| String::new(), |local| local.to_string());
        Socket { local, remote: remote.to_string(), descriptor: stream.as_raw_fd(), tls }
    }
}

struct Connection {
    server: Arc<Server>,
    session: Session,
    read: Reader,
    outgoing: Outgoing,
    scanner: Scanner,
    buffer: BytesMut,
    monitor: Option<MonitorFeed>,
    /// Where it may move to; `None`: it stays.
    threads: Option<Arc<ConnectionThreads>>,
}

/// Why a connection is not served here any more.
enum End {
    Closed,
    Moves(Thread),
}

/// Returns when the client has hung up while it waits in WAIT or the like. A client that only
/// stopped sending still gets the replies to what it sent. To be polled after what may block it.
async fn left_while_blocked(read: &Reader, client: &Client) {
    poll_fn(|_| match client.is_blocked.load(Relaxed) {
        true => Poll::Ready(()),
        // Nobody wakes it: the same task blocks the client, and looks here next.
        false => Poll::Pending,
    })
    .await;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if read.has_hung_up() && client.is_blocked.load(Relaxed) {
            return;
        }
    }
}

/// What woke a connection that waited.
enum Event {
    Bytes(usize),
    Line(bytes::Bytes),
    Idle,
    Stop,
}

impl Connection {
    fn begin(server: Arc<Server>, socket: Socket, read: Reader, write: Writer) -> Self {
        let Socket { local, remote, descriptor, tls } = socket;
        let now_ms = crate::clock::unix_ms();
        let client = server.clients.register(remote, local, descriptor, now_ms);
        let users = server.users();
        let authenticated = users.default_is_open(&server.settings.load().requirepass);
        let account = users.default_account();
        let mut session = Session::new(client, account, authenticated);
        session.tls = tls;
        Connection {
            session,
            outgoing: Outgoing::new(server.clone(), write),
            server,
            read,
            scanner: Scanner::new(),
            buffer: BytesMut::new(),
            monitor: None,
            threads: None,
        }
    }

    /// Serves the client until the connection ends or moves.
    async fn serve(mut self) {
        let client = self.session.client.clone();
        tokio::select! {
            // First: what it sends after somebody learned that it was killed is not executed.
            biased;
            () = client.killed() => {}
            ended = self.run() => {
                match ended {
                    Ok(End::Moves(thread)) => return self.move_to(&thread),
                    Ok(End::Closed) => {}
                    Err(error) => {
                        tracing::debug!(client = client.id, %error, "connection ended");
                    }
                }
                self.outgoing.finish().await;
            }
        }
        // A crowd that leaves at once keeps nobody waiting for its sockets to be closed, nor memory.
        self.read.release_room(&mut self.buffer);
        self.buffer = BytesMut::new();
        let server = self.server.clone();
        let closing = server.closing.acquire().await;
        // First: who sees the socket closed and asks, on another thread, finds no such client.
        server.clients.remove(client.id);
        drop(self);
        tokio::task::yield_now().await;
        drop(closing);
    }

    /// Has another thread serve the client, who waits for nothing and may have sent the beginning of a
    /// request.
    fn move_to(self, thread: &Thread) {
        let Connection { server, session, read, outgoing, scanner, buffer, monitor, .. } = self;
        let (clients, id) = (server.clone(), session.client.id);
        let lost = move |error: io::Error| {
            tracing::warn!(client = id, %error, "a client could not be served on another thread");
            clients.clients.remove(id);
        };
        let is_lost = lost.clone();
        let go_on = move |stream: io::Result<TcpStream>| async move {
            let (read, write) = match stream {
                Ok(stream) => stream::plain(stream),
                Err(error) => return is_lost(error),
            };
            let outgoing = Outgoing::new(server.clone(), write);
            let threads = None;
            let moved =
                Connection { server, session, read, outgoing, scanner, buffer, monitor, threads };
            moved.serve().await;
        };
        let moved = match stream::whole(read, outgoing.into_writer()) {
            Some(stream) => thread.serve(stream, go_on),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        moved.unwrap_or_else(lost);
    }

    async fn run(&mut self) -> io::Result<End> {
        let mut requests: Vec<Request> = Vec::new();
        let mut moves_to = None;
        loop {
            let broken = self.scan(&mut requests);
            if !requests.is_empty() {
                // Others may read while these are executed.
                self.read.release_room(&mut self.buffer);
                if requests.len() >= PIPELINE_REQUESTS_MIN {
                    moves_to = moves_to.or_else(|| self.threads.take()?.of_pipelines().cloned());
                }
                let batch = requests.drain(..);
                let client = self.session.client.clone();
                let executed =
                    dispatch::execute(&self.server, &mut self.session, batch, &mut self.outgoing);
                tokio::select! {
                    biased;
                    executed = executed => executed?,
                    () = left_while_blocked(&self.read, &client) => return Ok(End::Closed),
                }
                if self.session.closing {
                    self.outgoing.flush(&self.session).await?;
                    return Ok(End::Closed);
                }
                if self.session.monitor && self.monitor.is_none() {
                    self.monitor = self.session.client.take_monitor_feed();
                } else if !self.session.monitor {
                    self.monitor = None;
                }
                if broken.is_none() {
                    // More may be whole already; replies wait for it up to a batch.
                    self.outgoing.flush_if_full(&self.session).await?;
                    continue;
                }
            }
            if let Some(error) = broken {
                self.outgoing.add_bytes(|buffer| error.encode(buffer));
                self.server.metrics.record_error("ERR");
                self.outgoing.flush(&self.session).await?;
                return Ok(End::Closed);
            }
            self.outgoing.flush(&self.session).await?;
            if let Some(thread) = moves_to.take() {
                self.read.release_room(&mut self.buffer);
                return Ok(End::Moves(thread));
            }
            match self.wait().await? {
                Event::Bytes(0) | Event::Idle | Event::Stop => return Ok(End::Closed),
                Event::Bytes(bytes) => {
                    self.session.client.total_input_bytes.fetch_add(bytes as u64, Relaxed);
                    self.server.metrics.net_input_bytes.add(bytes as u64);
                    if bytes >= TURN_BYTES {
                        // More is there already, perhaps without end: the others have a turn first.
                        self.outgoing.turn().await;
                    }
                }
                Event::Line(line) => {
                    self.outgoing.add_bytes(|buffer| buffer.extend_from_slice(&line));
                    self.outgoing.flush(&self.session).await?;
                }
            }
        }
    }

    /// Takes the whole requests of a batch off the buffer. Before a client is authenticated a batch ends
    /// with what may authenticate it, because that changes the limits for what follows.
    fn scan(&mut self, requests: &mut Vec<Request>) -> Option<ProtocolError> {
        let values = self.server.settings.load();
        let is_known = self.session.authenticated;
        let limits = if is_known {
            let mut limits = ScanLimits::authenticated(values.proto_max_bulk_bytes as usize);
            limits.query_buffer_bytes_max = values.client_query_buffer_bytes as usize;
            limits
        } else {
            ScanLimits::unauthenticated()
        };
        while requests.len() < PIPELINE_BATCH_REQUESTS {
            match self.scanner.next(&mut self.buffer, &limits) {
                Ok(Some(request)) => {
                    let is_last = !is_known && authenticates(&request);
                    requests.push(request);
                    if is_last {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => return Some(error),
            }
        }
        self.session.client.input_bytes.store(self.buffer.len() as u64, Relaxed);
        None
    }

    /// Waits for bytes, a line to monitor, the idle time or the end of the node.
    async fn wait(&mut self) -> io::Result<Event> {
        let idle = Duration::from_secs(self.server.settings.load().timeout_s);
        let client = &self.session.client;
        self.read.release_room(&mut self.buffer);
        let monitor = async {
            match &mut self.monitor {
                Some(feed) => feed.recv().await,
                None => std::future::pending().await,
            }
        };
        let (read, buffer) = (&mut self.read, &mut self.buffer);
        tokio::select! {
            biased;
            () = client.ended() => Ok(Event::Stop),
            bytes = read.read(buffer) => Ok(Event::Bytes(bytes?)),
            line = monitor => Ok(line.map_or(Event::Stop, Event::Line)),
            // Not even made where there is no such time.
            () = async { tokio::time::sleep(idle).await }, if idle > Duration::ZERO => {
                Ok(Event::Idle)
            }
        }
    }
}

/// Whether a request may make another of its client, by its name.
fn authenticates(request: &Request) -> bool {
    let name = request.arg(0);
    name.eq_ignore_ascii_case(b"auth") || name.eq_ignore_ascii_case(b"hello")
}
