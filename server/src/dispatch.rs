//! From requests to replies: small named checks in order, then a route by the type of the command.
//!
//! A pipeline's requests are taken in order. Neighbouring writes become one submission to group
//! commit, neighbouring reads share one read barrier and one version of the data; whatever changes
//! kind waits for what is before it. So replies keep the order of requests, and a read sees every
//! write before it on its connection.

mod checks;
pub(crate) mod outgoing;
mod replies;
mod route;
mod transaction;
mod turns;

use crate::clients::Client;
use crate::commands::context::{NodeContext, SessionContext};
use crate::commands::spec::{CommandSpec, Flags, Run};
use crate::config::Values;
use crate::limits::{READ_INLINE_ARGS_MAX, RUN_VALUES_MAX};
use crate::metrics::CommandOutcome;
use crate::server::Server;
use crate::session::Session;
use crate::slowlog::SlowCommand;
use outgoing::Outgoing;
use protocol::{Reply, Request};
use std::io;
use std::sync::Arc;

/// A request that passed the checks.
pub(crate) struct Checked {
    pub(crate) spec: &'static CommandSpec,
    pub(crate) request: Request,
}

/// What requests wait together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reads,
    Scans,
    Writes,
}

/// Executes requests in order and adds their replies.
pub(crate) async fn execute(
    server: &Arc<Server>,
    session: &mut Session,
    requests: impl Iterator<Item = Request>,
    outgoing: &mut Outgoing,
) -> io::Result<()> {
    let mut run = Pending { kind: Kind::Reads, requests: Vec::new(), bytes: 0, values: 0 };
    let now_ms = crate::clock::unix_ms();
    for request in requests {
        if session.closing {
            break;
        }
        if checks::is_http(&request) {
            if let Some(untraced) = server.http.due() {
                let client = &session.client.address;
                tracing::warn!(%client, untraced, "closed: it speaks HTTP");
            }
            session.closing = true;
            break;
        }
        if server.clients.paused_until(true, now_ms).is_some()
            && let Some(is_write) = checks::pausable(server, session, &request)
        {
            run.finish(server, session, outgoing).await?;
            outgoing.flush(session).await?;
            pause(server, session, is_write).await;
        }
        let checked = checks::check(server, session, request, now_ms);
        let checked = match checked {
            Ok(checked) => checked,
            Err(reply) => {
                run.finish(server, session, outgoing).await?;
                outgoing.add(session, &reply);
                continue;
            }
        };
        let kind = match checked.spec.run {
            Run::Read(_) if checked.request.len() > READ_INLINE_ARGS_MAX => Some(Kind::Scans),
            Run::Read(_) => Some(Kind::Reads),
            Run::Scan(_) => Some(Kind::Scans),
            Run::Write { .. } => Some(Kind::Writes),
            Run::Session(_) | Run::Node(_) | Run::Exec | Run::Watch | Run::Container => None,
        };
        match kind {
            Some(kind) => {
                if run.kind != kind || run.is_full() {
                    run.finish(server, session, outgoing).await?;
                    run.kind = kind;
                }
                run.add(checked);
            }
            None => {
                run.finish(server, session, outgoing).await?;
                let reply = single(server, session, &checked).await;
                outgoing.add(session, &reply);
                outgoing.flush_if_full(session).await?;
            }
        }
    }
    run.finish(server, session, outgoing).await
}

/// Requests that wait to be executed together.
struct Pending {
    kind: Kind,
    requests: Vec<Checked>,
    /// Of their arguments.
    bytes: usize,
    /// Writes among them that may answer with a value.
    values: usize,
}

/// Requests and bytes of one run at most: it becomes one submission.
const RUN_REQUESTS_MAX: usize = 1024;
const RUN_BYTES_MAX: usize = 4 << 20;

impl Pending {
    fn is_full(&self) -> bool {
        self.requests.len() >= RUN_REQUESTS_MAX
            || self.bytes >= RUN_BYTES_MAX
            || self.values >= RUN_VALUES_MAX
    }

    fn add(&mut self, checked: Checked) {
        self.bytes += checked.request.payload_bytes();
        self.values += usize::from(may_return_value(&checked));
        self.requests.push(checked);
    }

    async fn finish(
        &mut self,
        server: &Arc<Server>,
        session: &mut Session,
        outgoing: &mut Outgoing,
    ) -> io::Result<()> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let requests = std::mem::take(&mut self.requests);
        (self.bytes, self.values) = (0, 0);
        let started = crate::clock::monotonic_ns();
        outgoing.flush_if_late(session, started).await?;
        match self.kind {
            Kind::Reads => route::reads(server, session, &requests, started, outgoing).await?,
            Kind::Scans => route::scans(server, session, requests, started, outgoing).await?,
            Kind::Writes => {
                let replies = route::writes(server, session, &requests).await;
                // They waited together, and leave together.
                let nanos = crate::clock::monotonic_ns().saturating_sub(started);
                let mut tally = Tally::new(server, nanos);
                for (checked, reply) in requests.iter().zip(replies) {
                    tally.add(session, checked, reply.is_error());
                    outgoing.add(session, &reply);
                }
            }
        }
        outgoing.flush_if_full(session).await
    }
}

/// Whether the reply of a write may be a whole value: of SET only with the option GET.
fn may_return_value(checked: &Checked) -> bool {
    let request = &checked.request;
    checked.spec.flags.has(Flags::RETURNS_VALUE)
        && (checked.spec.name != "set"
            || request.iter().skip(3).any(|option| option.eq_ignore_ascii_case(b"get")))
}

/// Executes a command that is neither a plain read nor a plain write.
async fn single(server: &Arc<Server>, session: &mut Session, checked: &Checked) -> Reply {
    let started = crate::clock::monotonic_ns();
    let reply = match checked.spec.run {
        Run::Session(handler) => {
            settle(server, session, checked.spec).await;
            handler(&mut SessionContext { session, node: &**server }, &checked.request)
        }
        Run::Node(handler) => {
            settle(server, session, checked.spec).await;
            let context = NodeContext { session, node: &**server };
            handler(context, &checked.request).await
        }
        Run::Exec => transaction::exec(server, session).await,
        Run::Watch => transaction::watch(server, session, &checked.request).await,
        Run::Container | Run::Read(_) | Run::Scan(_) | Run::Write { .. } => {
            Reply::error("ERR this command cannot run here")
        }
    };
    if checked.spec.name == "select" {
        checks::show(server, session, checked.spec, &checked.request);
    }
    record(server, session, checked, &reply, started);
    reply
}

/// Before a command that shows what is applied here without a read barrier: gives what the session has
/// written a moment to be applied.
async fn settle(server: &Server, session: &Session, spec: &CommandSpec) {
    if matches!(spec.name, "info" | "debug") {
        server.node.settle(session.last_write_index).await;
    }
}

/// Holds a client back while CLIENT PAUSE is on.
async fn pause(server: &Server, session: &Session, is_write: bool) {
    if server.clients.paused_until(is_write, crate::clock::unix_ms()).is_none() {
        return;
    }
    server.metrics.blocked_clients.increment();
    session.client.is_blocked.store(true, std::sync::atomic::Ordering::Relaxed);
    server.clients.wait_unpaused(is_write, &crate::clock::SystemClock).await;
    session.client.is_blocked.store(false, std::sync::atomic::Ordering::Relaxed);
    server.metrics.blocked_clients.decrement();
}

/// Counts a command that ran, and keeps it if it was slow.
fn record(server: &Server, session: &Session, checked: &Checked, reply: &Reply, started_ns: u64) {
    let nanos = crate::clock::monotonic_ns().saturating_sub(started_ns);
    Tally::new(server, nanos).add(session, checked, reply.is_error());
}

/// Counts commands that took the same time, neighbours of a kind together: the counters are shared by
/// all threads. What is slow is kept.
struct Tally<'a> {
    server: &'a Server,
    values: arc_swap::Guard<Arc<Values>>,
    nanos: u64,
    /// Of a command, how often it was added in a row, and how that went.
    last: Option<(&'static CommandSpec, u64, CommandOutcome)>,
}

impl<'a> Tally<'a> {
    fn new(server: &'a Server, nanos: u64) -> Self {
        Tally { server, values: server.settings.load(), nanos, last: None }
    }

    fn add(&mut self, session: &Session, checked: &Checked, failed: bool) {
        let outcome = match failed {
            true => CommandOutcome::Failed,
            false => CommandOutcome::Ok,
        };
        match &mut self.last {
            Some((spec, times, last)) if std::ptr::eq(*spec, checked.spec) && *last == outcome => {
                *times += 1;
            }
            _ => {
                self.count();
                self.last = Some((checked.spec, 1, outcome));
            }
        }
        let (threshold_us, micros) = (self.values.slowlog_log_slower_than_us, self.nanos / 1000);
        if threshold_us >= 0 && micros >= threshold_us as u64 && !is_hidden(checked.spec) {
            let unix_ms = crate::clock::unix_ms();
            let client: &Client = &session.client;
            let command = SlowCommand { request: &checked.request, unix_ms, micros, client };
            self.server.slowlog.record(command, threshold_us, self.values.slowlog_max_len);
        }
    }

    fn count(&mut self) {
        if let Some((spec, times, outcome)) = self.last.take() {
            let tracked = self.values.latency_tracking;
            self.server.metrics.record(spec, times, self.nanos, outcome, tracked);
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.count();
    }
}

fn is_hidden(spec: &CommandSpec) -> bool {
    spec.flags.has(crate::commands::spec::Flags::SKIP_SLOWLOG)
}
