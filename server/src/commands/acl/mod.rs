//! ACL: users and what they may do.
//!
//! Users are data of the cluster: SETUSER and DELUSER are entries of the log. What is asked about
//! them is answered from what this node has applied. ACL LOG is this node's own.
//!
//! ```text
//! > ACL SETUSER reader on >secret ~* +@read
//! OK
//! > ACL LIST
//! 1) user default on nopass ~* &* +@all
//! ```

mod change;
mod selector;
mod show;
#[cfg(test)]
mod tests;
mod user;

pub use change::{read_row, sealed};
pub use selector::Denied;
pub use user::{DEFAULT_USER, User};

use crate::commands::docs::Docs;
use crate::commands::spec::{Arity, CommandSpec, Flags, Group, Run};

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[ACL];

const ACL: CommandSpec = CommandSpec {
    name: "acl",
    syntax: "ACL subcommand",
    summary: "A container for commands on users and their rights.",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    subcommands: SUBCOMMANDS,
    run: Run::Container,
    flags: Flags::NONE,
    ..PLAIN
};

const PLAIN: CommandSpec = CommandSpec {
    group: Group::Server,
    since: "6.0.0",
    flags: Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE),
    ..CommandSpec::TEMPLATE
};

const ADMIN: CommandSpec = CommandSpec { flags: PLAIN.flags.and(Flags::ADMIN), ..PLAIN };

const OF_USERS: Docs = Docs::cost("O(N). Where N is the number of configured users.");

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "cat",
        syntax: "ACL CAT [categoryname]",
        summary: "Lists categories, or the commands of one.",
        docs: Docs::cost("O(1) since the categories and commands are a fixed set."),
        arity: Arity::AtLeast(2),
        run: Run::Session(show::cat),
        ..PLAIN
    },
    CommandSpec {
        name: "deluser",
        syntax: "ACL DELUSER username [username ...]",
        summary: "Removes users on all nodes, and closes their connections.",
        docs: Docs::cost("O(1) amortized time considering the typical user."),
        arity: Arity::AtLeast(3),
        flags: ADMIN.flags.and(Flags::CHANGES_USERS),
        run: Run::Write { check: change::check_delete_users, apply: change::delete_users },
        ..ADMIN
    },
    CommandSpec {
        name: "dryrun",
        syntax: "ACL DRYRUN username command [arg [arg ...]]",
        summary: "Says whether a user may run a command, without running it.",
        since: "7.0.0",
        docs: Docs::cost("O(1)."),
        arity: Arity::AtLeast(4),
        run: Run::Session(show::dry_run),
        ..ADMIN
    },
    CommandSpec {
        name: "genpass",
        syntax: "ACL GENPASS [bits]",
        summary: "Makes up a password.",
        docs: Docs::COST_1,
        arity: Arity::AtLeast(2),
        run: Run::Session(show::generate_password),
        ..PLAIN
    },
    CommandSpec {
        name: "getuser",
        syntax: "ACL GETUSER username",
        summary: "Describes a user.",
        docs: Docs::cost(
            "O(N). Where N is the number of password, command and pattern rules that the user has.",
        )
        .history(&[
            ("6.2.0", "Added Pub/Sub channel patterns."),
            (
                "7.0.0",
                "Added selectors and changed the format of key and channel patterns from a list to \
                 their rule representation.",
            ),
        ]),
        arity: Arity::Exactly(3),
        run: Run::Session(show::get_user),
        ..ADMIN
    },
    CommandSpec {
        name: "help",
        syntax: "ACL HELP",
        summary: "Lists the subcommands.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Session(show::print_help),
        ..PLAIN
    },
    CommandSpec {
        name: "list",
        syntax: "ACL LIST",
        summary: "Lists users with their rules.",
        docs: OF_USERS,
        arity: Arity::Exactly(2),
        run: Run::Session(show::list),
        ..ADMIN
    },
    CommandSpec {
        name: "load",
        syntax: "ACL LOAD",
        summary: "Refused: users are kept in the log, not in a file.",
        docs: OF_USERS,
        arity: Arity::Exactly(2),
        run: Run::Session(show::no_file),
        ..ADMIN
    },
    CommandSpec {
        name: "log",
        syntax: "ACL LOG [count | RESET]{operation}",
        summary: "Lists what this node denied lately.",
        docs: Docs::cost("O(N) with N being the number of entries shown."),
        arity: Arity::AtLeast(2),
        run: Run::Session(show::log),
        ..ADMIN
    },
    CommandSpec {
        name: "save",
        syntax: "ACL SAVE",
        summary: "Refused: users are kept in the log, not in a file.",
        docs: OF_USERS,
        arity: Arity::Exactly(2),
        run: Run::Session(show::no_file),
        ..ADMIN
    },
    CommandSpec {
        name: "setuser",
        syntax: "ACL SETUSER username [rule [rule ...]]",
        summary: "Makes or changes a user on all nodes.",
        docs: Docs::cost("O(N). Where N is the number of rules provided.").history(&[
            ("6.2.0", "Added Pub/Sub channel patterns."),
            ("7.0.0", "Added selectors and key based permissions."),
        ]),
        arity: Arity::AtLeast(3),
        flags: ADMIN.flags.and(Flags::CHANGES_USERS),
        run: Run::Write { check: change::check_set_user, apply: change::set_user },
        ..ADMIN
    },
    CommandSpec {
        name: "users",
        syntax: "ACL USERS",
        summary: "Lists the names of users.",
        docs: OF_USERS,
        arity: Arity::Exactly(2),
        run: Run::Session(show::users),
        ..ADMIN
    },
    CommandSpec {
        name: "whoami",
        syntax: "ACL WHOAMI",
        summary: "Returns the name of the connection's user.",
        docs: Docs::COST_1,
        arity: Arity::Exactly(2),
        run: Run::Session(show::who_am_i),
        ..PLAIN
    },
];
