//! Where a read or write is served: here, by the leader, or by the client asking elsewhere.

use crate::commands;
use crate::commands::context::{ReadContext, SeededRandom, user_key};
use crate::commands::error::{Failure, Outcome};
use crate::commands::spec::{CommandSpec, Flags, Run};
use crate::config::{FollowerReads, FollowerWrites};
use crate::dispatch::outgoing::Outgoing;
use crate::dispatch::{Checked, Tally, record};
use crate::limits::{ENCODE_INLINE_BYTES_MAX, READ_INDEX_ANSWER_WAIT};
use crate::raft::NodeAddress;
use crate::raft::error::ReplicationError;
use crate::raft::node::Leadership;
use crate::raft::proposer::Operations;
use crate::server::{Server, View};
use crate::session::Session;
use crate::state_machine::entry::encode_command;
use crate::tasks::work;
use bytes::{Bytes, BytesMut};
use protocol::{Reply, Request, key_slot};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;
use storage::space::Room;
use storage::txn::LOOKUPS_EXPECTED_MAX;
use tokio::time::Instant;

/// Replicates a run of writes as one submission.
pub(super) async fn writes(
    server: &Server,
    session: &mut Session,
    requests: &[Checked],
) -> Vec<Reply> {
    let redirects = server.settings.load().follower_writes == FollowerWrites::Redirect;
    if redirects && let Leadership::At(_, leader) = known_leader(server).await {
        let moved =
            |checked: &Checked| moved(server, session, &checked.request, checked.spec, &leader);
        return requests.iter().map(moved).collect();
    }
    let encoded = encode(server, session.database, requests).await;
    let certain = requests.iter().all(|checked| commands::answers_ok(&checked.request));
    let operations = Operations::new(encoded, requests.len() as u32, certain);
    server.metrics.writes_processed.add(requests.len() as u64);
    let changes_users = requests.iter().any(|checked| checked.spec.flags.has(Flags::CHANGES_USERS));
    match replicate_for(server, session, operations, changes_users).await {
        Ok(replies) => {
            if replies.len() == requests.len() {
                return replies;
            }
            let why = "the number of replies is another than of requests".to_owned();
            vec![ReplicationError::OutcomeUnknown(why).into(); requests.len()]
        }
        Err(error) => vec![Reply::from(error); requests.len()],
    }
}

/// Encodes a run of writes: beside this thread when they are long.
async fn encode(server: &Server, database: u8, requests: &[Checked]) -> Bytes {
    let requests = requests.iter().map(|checked| &checked.request);
    if requests.clone().map(Request::payload_bytes).sum::<usize>() <= ENCODE_INLINE_BYTES_MAX {
        return encode_all(database, requests);
    }
    let own: Vec<Request> = requests.cloned().collect();
    work(&*server.node.shared.machine.workers, move || encode_all(database, own.iter())).await
}

fn encode_all<'a>(database: u8, requests: impl Iterator<Item = &'a Request>) -> Bytes {
    let mut operations = BytesMut::new();
    requests.for_each(|request| encode_command(database, request, &mut operations));
    operations.freeze()
}

/// Replicates encoded operations of a session. Users that they change are changed on this node too
/// when it returns; a session whose own user is gone ends after its reply.
pub(super) async fn replicate_for(
    server: &Server,
    session: &mut Session,
    operations: Operations,
    changes_users: bool,
) -> Result<Vec<Reply>, ReplicationError> {
    if changes_users {
        session.client.changes_users.store(true, Release);
    }
    let outcome = replicate(server, operations).await;
    let outcome = outcome.map(|(index, replies)| {
        session.last_write_index = index;
        session.last_index = index;
        replies
    });
    if changes_users {
        if outcome.is_ok() {
            let index = session.last_write_index;
            if let Err(error) = server.node.wait_applied(index, READ_INDEX_ANSWER_WAIT).await {
                tracing::debug!(?error, "users are not yet changed on this node");
            }
        }
        session.closing |= session.account.is_removed();
        if !session.closing {
            session.client.changes_users.store(false, Release);
            session.closing = session.account.is_removed();
        }
    }
    outcome
}

/// Replicates encoded operations, and counts how that went.
async fn replicate(
    server: &Server,
    operations: Operations,
) -> Result<(u64, Vec<Reply>), ReplicationError> {
    let count = u64::from(operations.count);
    let outcome = server.node.write(operations).await;
    match &outcome {
        Ok(_)
        | Err(
            ReplicationError::NotLeader
            | ReplicationError::TooLong
            | ReplicationError::NotServing(_),
        ) => {}
        Err(ReplicationError::NoLeader) => server.metrics.requests_held.add(count),
        Err(ReplicationError::NoRoom) => server.metrics.writes_without_room.add(count),
        Err(ReplicationError::Overloaded) => server.metrics.requests_overloaded.add(count),
        Err(ReplicationError::OutcomeUnknown(_)) => server.metrics.outcomes_unknown.add(count),
    }
    outcome
}

/// Answers a run of reads from one version of the data.
pub(super) async fn reads(
    server: &Arc<Server>,
    session: &mut Session,
    requests: &[Checked],
    started_ns: u64,
    outgoing: &mut Outgoing,
) -> io::Result<()> {
    let view = match prepare(server, session, requests).await {
        Ok(view) => view,
        Err(replies) => {
            for (checked, reply) in requests.iter().zip(replies) {
                record(server, session, checked, &reply, started_ns);
                outgoing.add(session, &reply);
            }
            return Ok(());
        }
    };
    server.metrics.reads_processed.add(requests.len() as u64);
    // One look at the clock serves the run: it waited together, and leaves together.
    let nanos = crate::clock::monotonic_ns().saturating_sub(started_ns);
    let mut left = requests;
    while !left.is_empty() {
        left = read_batch(server, session, &view, left, nanos, outgoing);
        outgoing.flush_if_full(session).await?;
    }
    Ok(())
}

/// Answers reads until a batch of replies is full; returns those that are left.
fn read_batch<'a>(
    server: &Server,
    session: &mut Session,
    view: &View,
    requests: &'a [Checked],
    nanos: u64,
    outgoing: &mut Outgoing,
) -> &'a [Checked] {
    let mut context = view.context(session.database, server.settings.load().databases as u16);
    let mut random = SeededRandom::new(context.random);
    let mut tally = Tally::new(server, nanos);
    let mut left = requests;
    while let [checked, rest @ ..] = left {
        if (requests.len() - left.len()).is_multiple_of(LOOKUPS_EXPECTED_MAX) && !rest.is_empty() {
            // The first argument of nearly every command is its key; where it is not, the hint is
            // wasted and nothing else.
            let next = left.iter().take(LOOKUPS_EXPECTED_MAX);
            let keys = next.filter_map(|checked| checked.request.get(1)).map(user_key);
            context.reader.expect(session.database, keys);
        }
        context.random = random.next_u64();
        let reply = read_in(server, &context, checked);
        tally.add(session, checked, reply.is_error());
        outgoing.add(session, &reply);
        left = rest;
        if outgoing.is_full() {
            break;
        }
    }
    count(server, &context);
    left
}

fn read_in(server: &Server, context: &ReadContext<'_>, checked: &Checked) -> Reply {
    let (Run::Read(handler) | Run::Scan(handler)) = checked.spec.run else {
        return Reply::error("ERR this command cannot run here");
    };
    let outcome: Outcome = handler(context, &checked.request);
    outcome.unwrap_or_else(|failure| {
        if let Failure::Storage(error) = &failure {
            server.node.shared.damage.report(error);
        }
        failure.into()
    })
}

fn count(server: &Server, context: &ReadContext<'_>) {
    let (hits, misses) = context.found.get();
    server.metrics.keyspace_hits.add(hits);
    server.metrics.keyspace_misses.add(misses);
}

/// As [`reads`], beside the connections' threads, for commands that walk many keys.
pub(super) async fn scans(
    server: &Arc<Server>,
    session: &mut Session,
    requests: Vec<Checked>,
    started_ns: u64,
    outgoing: &mut Outgoing,
) -> io::Result<()> {
    let view = match prepare(server, session, &requests).await {
        Ok(view) => view,
        Err(replies) => {
            for (checked, reply) in requests.iter().zip(replies) {
                record(server, session, checked, &reply, started_ns);
                outgoing.add(session, &reply);
            }
            return Ok(());
        }
    };
    server.metrics.reads_processed.add(requests.len() as u64);
    let view = Arc::new(view);
    for checked in requests {
        let (server_, view, database) = (server.clone(), view.clone(), session.database);
        let encoder = outgoing.encoder(session);
        let (made, checked) = crate::tasks::blocking(move || {
            let reply = read(&server_, &view, database, &checked);
            (encoder.make(reply), checked)
        })
        .await;
        let nanos = crate::clock::monotonic_ns().saturating_sub(started_ns);
        Tally::new(server, nanos).add(session, &checked, made.is_error());
        outgoing.add_made(session, made);
        outgoing.flush_if_full(session).await?;
    }
    Ok(())
}

/// Runs one read command on a version of the data.
pub(super) fn read(server: &Server, view: &View, database: u8, checked: &Checked) -> Reply {
    let context = view.context(database, server.settings.load().databases as u16);
    let reply = read_in(server, &context, checked);
    count(server, &context);
    reply
}

/// Whether a follower sends a session's reads to the leader: by its setting, or because its disk is
/// full, so that it takes no entries and would wait in vain for what the leader has.
fn reads_elsewhere(server: &Server, session: &Session) -> bool {
    !session.readonly
        && match server.settings.load().follower_reads {
            FollowerReads::Redirect => true,
            FollowerReads::Linearizable => server.node.shared.space.room() == Room::Exhausted,
            FollowerReads::Stale => false,
        }
}

/// A version of the data that these reads may be answered from; `Err`: their replies.
async fn prepare(
    server: &Server,
    session: &mut Session,
    requests: &[Checked],
) -> Result<View, Vec<Reply>> {
    if reads_elsewhere(server, session)
        && let Leadership::At(_, leader) = known_leader(server).await
    {
        let moved =
            |checked: &Checked| moved(server, session, &checked.request, checked.spec, &leader);
        return Err(requests.iter().map(moved).collect());
    }
    match current_view(server, session).await {
        Ok(view) => Ok(view),
        Err(reply) => Err(vec![reply; requests.len()]),
    }
}

/// The version of the data that this session may read now: linearizable, or what is applied here
/// if the session or the node's settings say so (but never older than the session's own writes).
pub(super) async fn current_view(server: &Server, session: &mut Session) -> Result<View, Reply> {
    let stale = session.readonly
        || (server.settings.load().follower_reads == FollowerReads::Stale
            && matches!(server.node.leadership(), Leadership::At(..) | Leadership::Unknown));
    let ready = if stale {
        server.node.wait_applied(session.last_write_index, READ_INDEX_ANSWER_WAIT).await
    } else {
        server.metrics.read_barrier_reads.increment();
        server.node.read_barrier().await.map(|_| ())
    };
    ready.map_err(Reply::from)?;
    let view = server.view().map_err(|error| Reply::error(format!("IOERR {error}")))?;
    session.last_index = view.log_index();
    Ok(view)
}

/// MOVED or REDIRECT for a command of a MULTI block that could not be served here in the end.
pub(super) fn redirect(
    server: &Server,
    session: &Session,
    spec: &'static CommandSpec,
    request: &Request,
) -> Option<Reply> {
    let values = server.settings.load();
    let elsewhere = match spec.run {
        Run::Write { .. } => values.follower_writes == FollowerWrites::Redirect,
        Run::Read(_) | Run::Scan(_) => reads_elsewhere(server, session),
        Run::Session(_) | Run::Node(_) | Run::Exec | Run::Watch | Run::Container => false,
    };
    match server.node.leadership() {
        Leadership::At(_, leader) if elsewhere => {
            Some(moved(server, session, request, spec, &leader))
        }
        Leadership::At(..) | Leadership::Here | Leadership::Unknown => None,
    }
}

/// Who leads, waiting for an election to end.
async fn known_leader(server: &Server) -> Leadership {
    let hold = Duration::from_millis(server.settings.load().request_hold_ms);
    server.node.wait_for_leader(Instant::now() + hold).await
}

fn moved(
    server: &Server,
    session: &Session,
    request: &Request,
    spec: &CommandSpec,
    leader: &NodeAddress,
) -> Reply {
    server.metrics.requests_redirected.increment();
    if session.redirect_capable {
        return Reply::error(format!("REDIRECT {}", leader.for_client(session.tls)));
    }
    let mut slot = None;
    spec.keys.positions(request, |position| {
        slot = slot.or_else(|| request.get(position).map(key_slot));
    });
    Reply::error(format!("MOVED {} {}", slot.unwrap_or(0), leader.for_client(session.tls)))
}
