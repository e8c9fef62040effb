//! WATCH and EXEC. A MULTI block with a write is one log entry; one without is one read.

use crate::commands::context::{NodeContext, SessionContext, user_key};
use crate::commands::numbers;
use crate::commands::spec::{Flags, Run};
use crate::dispatch::{Checked, checks, route, settle};
use crate::limits::{WATCHED_BYTES_MAX, WATCHED_KEYS_MAX};
use crate::raft::proposer::Operations;
use crate::server::Server;
use crate::session::{MultiBlock, Queued, Session, Watched};
use crate::state_machine::Operation;
use bytes::BytesMut;
use protocol::{Reply, Request};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// WATCH: remembers the keys with the log index of their last change.
pub(super) async fn watch(server: &Arc<Server>, session: &mut Session, request: &Request) -> Reply {
    if session.multi.is_some() {
        return Reply::error("ERR WATCH inside MULTI is not allowed");
    }
    if session.watched.len() + request.len() > WATCHED_KEYS_MAX
        || session.watched.bytes() + request.payload_bytes() > WATCHED_BYTES_MAX
    {
        return Reply::error("ERR too many keys are watched");
    }
    let view = match route::current_view(server, session).await {
        Ok(view) => view,
        Err(reply) => return reply,
    };
    let reader = view.reader();
    for key in request.iter().skip(1) {
        let database = session.database;
        match reader.version(database, user_key(key)) {
            Ok(version) => session.watched.add(Watched { database, key: key.to_vec(), version }),
            Err(error) => return Reply::error(format!("IOERR {error}")),
        }
    }
    session.client.watched_keys.store(session.watched.len() as u64, Relaxed);
    Reply::OK
}

/// EXEC: executes the MULTI block as a whole, or not at all.
pub(super) async fn exec(server: &Arc<Server>, session: &mut Session) -> Reply {
    let Some(multi) = session.multi.take() else { return Reply::error("ERR EXEC without MULTI") };
    let watched = std::mem::take(&mut session.watched).into_keys();
    let reply = if multi.refused {
        Reply::error("EXECABORT Transaction discarded because of previous errors.")
    } else {
        execute(server, session, multi, watched).await
    };
    // Only now: the commands of the block still count as inside it.
    session.end_multi();
    reply
}

async fn execute(
    server: &Arc<Server>,
    session: &mut Session,
    mut multi: MultiBlock,
    watched: Vec<Watched>,
) -> Reply {
    checks::deny_queued(server, session, &mut multi.queued);
    let databases = server.settings.load().databases as u16;
    let block = Block::new(session.database, databases, multi);
    let data = if block.writes {
        replicate(server, session, watched, &block).await
    } else {
        read(server, session, &watched, &block).await
    };
    match data {
        Reply::Array(replies) => block.merge(server, session, replies).await,
        aborted => aborted,
    }
}

/// A block's commands, with the database each of them is for.
struct Block {
    queued: Vec<(u8, Queued)>,
    writes: bool,
}

impl Block {
    fn new(database: u8, databases: u16, multi: MultiBlock) -> Self {
        let mut database = database;
        let mut writes = false;
        let mut queued = Vec::with_capacity(multi.queued.len());
        for command in multi.queued {
            writes |= is_on_data(&command) && matches!(command.spec.run, Run::Write { .. });
            let own = database;
            if command.spec.name == "select"
                && command.denied.is_none()
                && let Some(number) = selected(&command.request, databases)
            {
                database = number;
            }
            queued.push((own, command));
        }
        Block { queued, writes }
    }

    /// The commands on data.
    fn commands(&self) -> Vec<(u8, Request)> {
        let on_data = self.queued.iter().filter(|(_, queued)| is_on_data(queued));
        on_data.map(|(database, queued)| (*database, queued.request.clone())).collect()
    }

    /// Runs the commands that are not on data, and puts all replies in order.
    async fn merge(self, server: &Arc<Server>, session: &mut Session, data: Vec<Reply>) -> Reply {
        let mut data = data.into_iter();
        let mut replies = Vec::with_capacity(self.queued.len());
        for (_, queued) in self.queued {
            let reply = match queued.spec.run {
                _ if queued.denied.is_some() => queued.denied.unwrap_or(Reply::Null),
                Run::Session(handler) => {
                    settle(server, session, queued.spec).await;
                    handler(&mut SessionContext { session, node: &**server }, &queued.request)
                }
                Run::Node(handler) => {
                    settle(server, session, queued.spec).await;
                    let context = NodeContext { session, node: &**server };
                    handler(context, &queued.request).await
                }
                Run::Read(_) | Run::Scan(_) | Run::Write { .. } => {
                    let missing = || Reply::error("ERR a reply of the transaction is missing");
                    data.next().unwrap_or_else(missing)
                }
                Run::Exec | Run::Watch | Run::Container => {
                    Reply::error("ERR this command cannot run here")
                }
            };
            replies.push(reply);
        }
        Reply::Array(replies)
    }
}

fn is_on_data(queued: &Queued) -> bool {
    queued.denied.is_none()
        && matches!(queued.spec.run, Run::Read(_) | Run::Scan(_) | Run::Write { .. })
}

/// The database of a SELECT that will succeed; one that fails leaves the database as it was.
fn selected(request: &Request, databases: u16) -> Option<u8> {
    numbers::database(request.get(1)?, databases).ok()
}

async fn replicate(
    server: &Server,
    session: &mut Session,
    watched: Vec<Watched>,
    block: &Block,
) -> Reply {
    let commands = block.commands();
    let changes_users = block
        .queued
        .iter()
        .any(|(_, queued)| is_on_data(queued) && queued.spec.flags.has(Flags::CHANGES_USERS));
    let mut operation = BytesMut::new();
    Operation::Multi { watched, commands }.encode(&mut operation);
    let operations = Operations::new(operation.freeze(), 1, false);
    match route::replicate_for(server, session, operations, changes_users).await {
        Ok(replies) => replies.into_iter().next().unwrap_or(Reply::NullArray),
        Err(error) => error.into(),
    }
}

/// Executes a block without writes on one version of the data.
async fn read(
    server: &Arc<Server>,
    session: &mut Session,
    watched: &[Watched],
    block: &Block,
) -> Reply {
    let needs_data =
        !watched.is_empty() || block.queued.iter().any(|(_, queued)| is_on_data(queued));
    if !needs_data {
        return Reply::Array(Vec::new());
    }
    let view = match route::current_view(server, session).await {
        Ok(view) => view,
        Err(reply) => return reply,
    };
    for key in watched {
        match view.reader().version(key.database, user_key(&key.key)) {
            Ok(version) if version == key.version => {}
            Ok(_) => return Reply::NullArray,
            Err(error) => return Reply::error(format!("IOERR {error}")),
        }
    }
    let on_data = block.queued.iter().filter(|(_, queued)| is_on_data(queued));
    let run = |(database, queued): &(u8, Queued)| {
        let checked = Checked { spec: queued.spec, request: queued.request.clone() };
        route::read(server, &view, *database, &checked)
    };
    Reply::Array(on_data.map(run).collect())
}
