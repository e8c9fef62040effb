//! What every request passes before it runs, in Redis's order: known, arity, authenticated, not
//! removed, room on the disk, keys short enough, syntax of writes, and queued when a MULTI block is open.

use crate::acl_log::Denial;
use crate::commands::acl::{self, DEFAULT_USER, Denied};
use crate::commands::error::CommandError;
use crate::commands::spec::{CommandSpec, Flags, Run};
use crate::commands::{self, numbering};
use crate::dispatch::{Checked, route};
use crate::limits::{MULTI_BYTES_MAX, MULTI_COMMANDS_MAX};
use crate::node_control::NodeControl;
use crate::raft::error::ReplicationError;
use crate::raft::node::Leadership;
use crate::server::Server;
use crate::session::{Queued, Session};
use protocol::{Reply, Request};
use std::sync::atomic::Ordering::Relaxed;
use storage::space::Room;

/// Checks a request. `Err` is its reply: an error, or `+QUEUED`.
pub(super) fn check(
    server: &Server,
    session: &mut Session,
    request: Request,
    now_ms: u64,
) -> Result<Checked, Reply> {
    let spec = match find(&request) {
        Ok(spec) => spec,
        Err(reply) => return Err(refuse(server, session, None, reply)),
    };
    session.client.note_command(spec, now_ms);
    let allowed = arity(spec, &request)
        .and_then(|()| authenticated(server, session, spec))
        .and_then(|()| serving(server, spec))
        .and_then(|()| in_multi(session, spec))
        .and_then(|()| permitted(server, session, spec, &request))
        .and_then(|()| room(server, spec));
    if let Err(reply) = allowed {
        return Err(refuse(server, session, Some(spec), reply));
    }
    // SELECT is shown with the database that it selected, when it has run.
    if spec.name != "select" || session.multi.is_some() {
        show(server, session, spec, &request);
    }
    if session.multi.is_some() && !runs_inside_multi(spec) {
        return Err(queue(server, session, spec, request));
    }
    if let Err(error) = keys(spec, &request).and_then(|()| syntax(spec, &request)) {
        return Err(refuse(server, session, Some(spec), error.into()));
    }
    Ok(Checked { spec, request: sealed(server, spec, request) })
}

/// Shows a request to clients in MONITOR.
pub(super) fn show(server: &Server, session: &Session, spec: &CommandSpec, request: &Request) {
    let hidden = spec.flags.has(Flags::SKIP_MONITOR) || spec.flags.has(Flags::ADMIN);
    if server.clients.has_monitors() && !hidden {
        let unix_us = crate::clock::Clock::unix_us(&crate::clock::SystemClock);
        let address = &session.client.address;
        server.clients.monitor_feed(unix_us, session.database, address, request);
    }
}

/// Whether a request is a line of HTTP: a browser that was tricked into speaking to this port. Its
/// connection is closed, as in Redis, before the next line does harm.
pub(super) fn is_http(request: &Request) -> bool {
    let name = request.arg(0);
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Whether CLIENT PAUSE may hold this request back: none for one that is refused anyway, else
/// whether it, or the block that it ends, writes.
pub(super) fn pausable(server: &Server, session: &Session, request: &Request) -> Option<bool> {
    let spec = find(request).ok()?;
    arity(spec, request).and_then(|()| authenticated(server, session, spec)).ok()?;
    let writes = |spec: &CommandSpec| matches!(spec.run, Run::Write { .. });
    let mut queued = session.multi.iter().flat_map(|multi| &multi.queued);
    Some(writes(spec) || spec.name == "exec" && queued.any(|queued| writes(queued.spec)))
}

/// Notes a refusal: a MULTI block with one is not executed.
fn refuse(
    server: &Server,
    session: &mut Session,
    spec: Option<&'static CommandSpec>,
    reply: Reply,
) -> Reply {
    if let Some(spec) = spec {
        server.metrics.record_rejected(spec);
    }
    if let Some(multi) = &mut session.multi {
        multi.refused = true;
    }
    match (spec, &reply) {
        (Some(spec), Reply::Error(why)) if spec.name == "exec" => {
            // As in Redis, an EXEC that is refused ends the block, if there is one, and says why.
            let why = why.strip_prefix("ERR ").unwrap_or(why);
            let reply = format!("EXECABORT Transaction discarded because of: {why}");
            session.end_multi();
            Reply::error(reply)
        }
        _ => reply,
    }
}

/// The command or subcommand that a request names.
fn find(request: &Request) -> Result<&'static CommandSpec, Reply> {
    let Some(spec) = commands::lookup(request.arg(0)) else {
        return Err(unknown_command(request));
    };
    if spec.subcommands.is_empty() {
        return Ok(spec);
    }
    let Some(name) = request.get(1) else {
        return match spec.run {
            // COMMAND alone is a command.
            Run::Container => Err(CommandError::Arity(spec.name).into()),
            _ => Ok(spec),
        };
    };
    commands::lookup_subcommand(spec, name).ok_or_else(|| unknown_subcommand(spec, name))
}

fn unknown_command(request: &Request) -> Reply {
    let mut args = String::new();
    // Counted as Redis does, in bytes of the request and its own quotes and spaces.
    let mut bytes = 0;
    for arg in request.iter().skip(1) {
        if bytes >= 128 {
            break;
        }
        let arg = beginning(arg, 128 - bytes);
        bytes += arg.len() + "'' ".len();
        args.push_str(&format!("'{}' ", String::from_utf8_lossy(arg)));
    }
    let name = String::from_utf8_lossy(beginning(request.arg(0), 128));
    Reply::error(format!("ERR unknown command '{name}', with args beginning with: {args}"))
}

/// The beginning of an argument as Redis prints it: up to a NUL byte, `bytes_max` at most.
fn beginning(arg: &[u8], bytes_max: usize) -> &[u8] {
    &arg[..memchr::memchr(0, arg).unwrap_or(arg.len()).min(bytes_max)]
}

fn unknown_subcommand(spec: &CommandSpec, name: &[u8]) -> Reply {
    let name = String::from_utf8_lossy(beginning(name, 128));
    let container = spec.name.to_uppercase();
    Reply::error(format!("ERR unknown subcommand '{name}'. Try {container} HELP."))
}

fn arity(spec: &'static CommandSpec, request: &Request) -> Result<(), Reply> {
    match spec.arity.accepts(request.len()) {
        true => Ok(()),
        false => Err(CommandError::Arity(numbering::full_name(numbering::number(spec))).into()),
    }
}

fn authenticated(server: &Server, session: &Session, spec: &CommandSpec) -> Result<(), Reply> {
    let is_open = || server.users().default_is_open(&server.settings.load().requirepass);
    match session.authenticated || spec.flags.has(Flags::NO_AUTH) || is_open() {
        true => Ok(()),
        false => Err(Reply::error("NOAUTH Authentication required.")),
    }
}

/// The rights of the session's user.
fn permitted(
    server: &Server,
    session: &Session,
    spec: &'static CommandSpec,
    request: &Request,
) -> Result<(), Reply> {
    if session.account.has_all_rights() {
        return Ok(());
    }
    denial(server, session, spec, request).map_or(Ok(()), |denied| {
        Err(Reply::error(match denied {
            Denied::Command => {
                let name = numbering::full_name_of(spec);
                format!("NOPERM this user has no permissions to run the '{name}' command")
            }
            Denied::Key(_) => {
                "NOPERM this user has no permissions to access one of the keys used as arguments"
                    .to_owned()
            }
        }))
    })
}

/// Why the session's user may not run a request, if it may not; ACL LOG has it then.
fn denial(
    server: &Server,
    session: &Session,
    spec: &'static CommandSpec,
    request: &Request,
) -> Option<Denied> {
    let denied = session.account.user().check(spec, request).err()?;
    let (reason, object) = match denied {
        Denied::Command => ("command", bytes::Bytes::from(numbering::full_name_of(spec))),
        Denied::Key(position) => ("key", bytes::Bytes::copy_from_slice(request.arg(position))),
    };
    let context = if session.in_multi() { "multi" } else { "toplevel" };
    let denial = Denial { reason, context, object, user: session.account.name().clone() };
    let now_ms = crate::clock::unix_ms();
    server.users().log().add(denial, session.client.describe(now_ms), now_ms);
    Some(denied)
}

/// Looks again, at EXEC, at what was queued: rights may have changed since.
pub(super) fn deny_queued(server: &Server, session: &Session, queued: &mut [Queued]) {
    for command in queued.iter_mut().filter(|_| !session.account.has_all_rights()) {
        let why = match denial(server, session, command.spec, &command.request) {
            None => continue,
            Some(Denied::Command) => "no permission to execute the command or subcommand",
            Some(Denied::Key(_)) => "no permission to touch the specified keys",
        };
        command.denied = Some(Reply::error(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the \
             EXEC call. This command is no longer allowed for the following reason: {why}"
        )));
    }
}

/// What EXEC says instead of running a change of users whose rules are wrong: a password may have lost
/// the sign that tells it from other words, and the log must not get it.
fn changes_users_wrongly(spec: &CommandSpec, request: &Request) -> Option<Reply> {
    let checked = syntax(spec, request).err().filter(|_| spec.flags.has(Flags::CHANGES_USERS));
    checked.map(Reply::from)
}

/// A request as it may be written to the log: without passwords.
fn sealed(server: &Server, spec: &CommandSpec, request: Request) -> Request {
    if !spec.flags.has(Flags::CHANGES_USERS) || spec.name != "setuser" {
        return request;
    }
    let requirepass = &server.settings.load().requirepass;
    let users = server.users();
    let own = !requirepass.is_empty() && !users.default_is_stored();
    let default_user = users.user(DEFAULT_USER, requirepass).filter(|_| own);
    acl::sealed(&request, default_user.as_deref())
}

/// A node that was removed from its cluster says so to whoever wants data.
fn serving(server: &Server, spec: &CommandSpec) -> Result<(), Reply> {
    let wants_data = match spec.run {
        Run::Read(_) | Run::Scan(_) | Run::Write { .. } | Run::Exec | Run::Watch => true,
        Run::Session(_) | Run::Node(_) | Run::Container => false,
    };
    match wants_data && server.bootstrap.identity.state().removed {
        true => Err(Reply::error("CLUSTERDOWN This node was removed from its cluster")),
        false => Ok(()),
    }
}

/// Where the leader's disk is nearly full, what adds to the data is refused; what removes from it
/// may go on for a while.
fn room(server: &Server, spec: &CommandSpec) -> Result<(), Reply> {
    let refused = match server.node.shared.space.room() {
        Room::Enough => return Ok(()),
        Room::Low => spec.flags.has(Flags::DENYOOM),
        Room::Exhausted => true,
    };
    let writes = matches!(spec.run, Run::Write { .. });
    if !refused || !writes || server.node.leadership() != Leadership::Here {
        return Ok(());
    }
    server.metrics.writes_without_room.increment();
    Err(ReplicationError::NoRoom.into())
}

fn in_multi(session: &Session, spec: &'static CommandSpec) -> Result<(), Reply> {
    match session.multi.is_some() && spec.flags.has(Flags::NO_MULTI) && !runs_inside_multi(spec) {
        true => Err(Reply::error("ERR Command not allowed inside a transaction")),
        false => Ok(()),
    }
}

/// Commands that act at once although a MULTI block is open.
fn runs_inside_multi(spec: &'static CommandSpec) -> bool {
    // By its full name: LATENCY RESET is another command than RESET.
    let name = numbering::full_name(numbering::number(spec));
    matches!(name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

/// Every key must fit the store.
fn keys(spec: &CommandSpec, request: &Request) -> Result<(), CommandError> {
    if !matches!(spec.run, Run::Write { .. }) {
        return Ok(());
    }
    let mut fits = true;
    spec.keys.positions(request, |position| {
        fits &= request
            .get(position)
            .is_none_or(|key| key.len() <= storage::limits::USER_KEY_BYTES_MAX);
    });
    if fits { Ok(()) } else { Err(CommandError::KeyTooLong) }
}

fn syntax(spec: &CommandSpec, request: &Request) -> Result<(), CommandError> {
    match spec.run {
        Run::Write { check, .. } => check(request),
        _ => Ok(()),
    }
}

/// Queues a command of a MULTI block, or redirects it.
fn queue(
    server: &Server,
    session: &mut Session,
    spec: &'static CommandSpec,
    request: Request,
) -> Reply {
    if let Err(error) = keys(spec, &request) {
        return refuse(server, session, Some(spec), error.into());
    }
    if let Some(redirect) = route::redirect(server, session, spec, &request) {
        return refuse(server, session, Some(spec), redirect);
    }
    let bytes = request.payload_bytes() as u64;
    let Some(multi) = &mut session.multi else { return Reply::error("ERR no MULTI block is open") };
    if multi.queued.len() >= MULTI_COMMANDS_MAX
        || session.client.multi_bytes.load(Relaxed) + bytes > MULTI_BYTES_MAX as u64
    {
        let reply = Reply::error("ERR the MULTI block is too large");
        return refuse(server, session, Some(spec), reply);
    }
    let denied = changes_users_wrongly(spec, &request);
    let request = sealed(server, spec, request).detached();
    multi.queued.push(Queued { spec, request, denied });
    session.client.multi_bytes.fetch_add(bytes, Relaxed);
    session.client.multi_commands.store(multi.queued.len() as i64, Relaxed);
    Reply::simple("QUEUED")
}
