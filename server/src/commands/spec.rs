//! What a command is: one declaration from which everything else is derived.
//!
//! Read or write is a type, not a flag: a `Read` handler is handed no way to write. Arity, flags
//! and key positions are those of Redis 7.0.15, and a test compares them. COMMAND, ACL categories,
//! key extraction and routing are computed from these declarations.
//!
//! To add a command: write `commands/<group>/<verb>.rs`, add its line to the group's `mod.rs`, and
//! add `tests/scripts/<group>/<verb>.resp`. Nothing else.

use crate::commands::context::{NodeContext, ReadContext, SessionContext, WriteContext};
use crate::commands::docs::Docs;
use crate::commands::error::{CommandError, Outcome};
use futures_util::future::BoxFuture;
use protocol::{Reply, Request};

/// One command or subcommand.
#[derive(Debug)]
pub struct CommandSpec {
    /// Lower-case name; for a subcommand, without its container (`setname`).
    pub name: &'static str,
    /// Arguments as a manual page writes them, the name included; see [`crate::commands::syntax`].
    pub syntax: &'static str,
    /// One sentence, that of Redis where it is true here.
    pub summary: &'static str,
    /// Chapter of the manual.
    pub group: Group,
    /// Redis version that introduced it.
    pub since: &'static str,
    /// Its cost and history.
    pub docs: Docs,
    /// Number of arguments, the name (and container) included.
    pub arity: Arity,
    /// Redis's flags.
    pub flags: Flags,
    /// ACL categories beyond those that follow from flags and group.
    pub categories: &'static [&'static str],
    /// What clients and proxies of many shards should know, in Redis's words.
    pub tips: &'static [&'static str],
    /// Where its keys are.
    pub keys: Keys,
    /// Subcommands of a container.
    pub subcommands: &'static [CommandSpec],
    /// What it does.
    pub run: Run,
}

impl CommandSpec {
    /// A template for declarations: `CommandSpec { name: .., ..CommandSpec::TEMPLATE }`.
    pub const TEMPLATE: CommandSpec = CommandSpec {
        name: "",
        syntax: "",
        summary: "",
        group: Group::Generic,
        since: "1.0.0",
        docs: Docs::NONE,
        arity: Arity::AtLeast(1),
        flags: Flags::NONE,
        categories: &[],
        tips: &[],
        keys: Keys::None,
        subcommands: &[],
        run: Run::Container,
    };
}

/// How many arguments a command takes, its name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// This many.
    Exactly(usize),
    /// This many or more.
    AtLeast(usize),
}

impl Arity {
    /// Whether a request of `len` arguments fits.
    pub fn accepts(self, len: usize) -> bool {
        match self {
            Arity::Exactly(count) => len == count,
            Arity::AtLeast(count) => len >= count,
        }
    }

    /// As COMMAND prints it: negative for "at least".
    pub fn as_redis(self) -> i64 {
        match self {
            Arity::Exactly(count) => count as i64,
            Arity::AtLeast(count) => -(count as i64),
        }
    }
}

/// Chapters of the manual, with the names that COMMAND DOCS prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Keys of any type.
    Generic,
    /// Strings.
    String,
    /// MULTI blocks.
    Transactions,
    /// The connection itself.
    Connection,
    /// The node.
    Server,
    /// Redis Cluster's view of the cluster.
    Cluster,
    /// Raft membership and state.
    Raft,
}

/// Where a command's keys are among its arguments.
#[derive(Clone, Copy)]
pub enum Keys {
    /// It has none.
    None,
    /// From `first` to `last` (negative: counted from the end), every `step`.
    Range {
        /// Position of the first key.
        first: usize,
        /// Position of the last key; -1 is the last argument.
        last: isize,
        /// Distance between keys.
        step: usize,
    },
    /// As `Range`, but some arguments decide: the function finds the positions.
    Find {
        /// First, last and step as COMMAND INFO prints them.
        printed: (usize, isize, usize),
        /// Positions of the keys.
        find: fn(&Request) -> Vec<usize>,
    },
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.printed())
    }
}

impl Keys {
    /// One key.
    pub const fn at(position: usize) -> Keys {
        Keys::Range { first: position, last: position as isize, step: 1 }
    }

    /// First, last and step as COMMAND INFO prints them.
    pub fn printed(&self) -> (usize, isize, usize) {
        match *self {
            Keys::None => (0, 0, 0),
            Keys::Range { first, last, step } => (first, last, step),
            Keys::Find { printed, .. } => printed,
        }
    }

    /// Calls `visit` with the position of each key of `request`.
    pub fn positions(&self, request: &Request, mut visit: impl FnMut(usize)) {
        match *self {
            Keys::None => {}
            Keys::Range { first, last, step } => {
                let len = request.len() as isize;
                let last = if last < 0 { len + last } else { last.min(len - 1) };
                let mut position = first;
                while position as isize <= last {
                    visit(position);
                    position += step.max(1);
                }
            }
            Keys::Find { find, .. } => find(request).into_iter().for_each(visit),
        }
    }
}

/// Redis's command flags, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// May change data.
    pub const WRITE: Flags = Flags(1);
    /// Reads data.
    pub const READONLY: Flags = Flags(1 << 1);
    /// May use more memory.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// For administrators.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Not for scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 4);
    /// Allowed while loading.
    pub const LOADING: Flags = Flags(1 << 5);
    /// Allowed on a stale replica.
    pub const STALE: Flags = Flags(1 << 6);
    /// Constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 7);
    /// Allowed before AUTH.
    pub const NO_AUTH: Flags = Flags(1 << 8);
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// Not in the slow log.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// Not allowed in a MULTI block.
    pub const NO_MULTI: Flags = Flags(1 << 11);
    /// Allowed while a script runs.
    pub const ALLOW_BUSY: Flags = Flags(1 << 12);
    /// Key positions depend on arguments.
    pub const MOVABLEKEYS: Flags = Flags(1 << 13);
    /// May wait.
    pub const BLOCKING: Flags = Flags(1 << 14);
    /// Not allowed while loading asynchronously.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 15);
    /// ASKING.
    pub const ASKING: Flags = Flags(1 << 16);
    /// May be called without keys although it takes keys.
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 17);

    /// A write whose reply may be a whole value. Ours: Redis has no such flag, and prints none.
    pub const RETURNS_VALUE: Flags = Flags(1 << 18);

    /// A change of users. Ours, and never printed.
    pub const CHANGES_USERS: Flags = Flags(1 << 19);

    /// Both sets together.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a command does, by what it may touch.
#[derive(Clone, Copy)]
pub enum Run {
    /// Uses the connection, and registries of the node, at once (PING, SELECT, INFO, MULTI).
    Session(fn(&mut SessionContext<'_>, &Request) -> Reply),
    /// Acts on this node or the cluster, possibly waiting (WAIT, RAFT.NODE).
    Node(for<'a> fn(NodeContext<'a>, &'a Request) -> BoxFuture<'a, Reply>),
    /// Answers from one consistent version of the data; cannot write.
    Read(fn(&ReadContext<'_>, &Request) -> Outcome),
    /// As `Read`, but may walk many keys: runs beside the connections' threads.
    Scan(fn(&ReadContext<'_>, &Request) -> Outcome),
    /// Changes data: `check` is pure syntax before anything is proposed; `apply` runs on every
    /// node, from the log, and reuses the same parser.
    Write {
        /// Syntax only.
        check: fn(&Request) -> Result<(), CommandError>,
        /// Reads and validates first, writes last.
        apply: fn(&mut WriteContext<'_, '_>, &Request) -> Outcome,
    },
    /// EXEC: dispatch turns the queued commands into one log entry.
    Exec,
    /// WATCH: dispatch reads the versions of the keys.
    Watch,
    /// Only its subcommands run.
    Container,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Run::Session(_) => "Session",
            Run::Node(_) => "Node",
            Run::Read(_) => "Read",
            Run::Scan(_) => "Scan",
            Run::Write { .. } => "Write",
            Run::Exec => "Exec",
            Run::Watch => "Watch",
            Run::Container => "Container",
        })
    }
}

/// A `check` for commands whose arity says all.
pub fn no_check(_: &Request) -> Result<(), CommandError> {
    Ok(())
}
