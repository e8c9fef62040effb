//! LATENCY: how long commands take.
//!
//! ```text
//! > LATENCY HISTOGRAM set
//! 1) set
//! 2) calls 100  histogram_usec  2 71  4 98  8 100
//! ```
//!
//! Every call is in the histograms. Redis's latency *events* do not exist here, so LATEST, HISTORY
//! and RESET truly have none.

use super::PLAIN;
use crate::commands::context::SessionContext;
use crate::commands::docs::Docs;
use crate::commands::numbering;
use crate::commands::spec::{Arity, CommandSpec, Flags, Run};
use crate::commands::words::{help, printable};
use crate::metrics::CommandMetrics;
use protocol::{Reply, Request};

pub(super) const LATENCY: CommandSpec = CommandSpec {
    name: "latency",
    syntax: "LATENCY subcommand",
    summary: "A container for commands on latency.",
    since: "2.8.13",
    docs: Docs::CONTAINER,
    arity: Arity::AtLeast(2),
    flags: Flags::NONE,
    subcommands: SUBCOMMANDS,
    run: Run::Container,
    ..PLAIN
};

const ADMIN: CommandSpec = CommandSpec {
    since: "2.8.13",
    flags: Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE),
    ..PLAIN
};

static SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "doctor",
        syntax: "LATENCY DOCTOR",
        summary: "Says where to look for latency.",
        docs: Docs::COST_1,
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        arity: Arity::Exactly(2),
        run: Run::Session(doctor),
        ..ADMIN
    },
    CommandSpec {
        name: "graph",
        syntax: "LATENCY GRAPH event",
        summary: "Draws the samples of an event; there are none.",
        docs: Docs::COST_1,
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        arity: Arity::Exactly(3),
        run: Run::Session(graph),
        ..ADMIN
    },
    CommandSpec {
        name: "help",
        syntax: "LATENCY HELP",
        summary: "Lists the subcommands.",
        arity: Arity::Exactly(2),
        since: "2.8.13",
        docs: Docs::COST_1,
        run: Run::Session(print_help),
        ..PLAIN
    },
    CommandSpec {
        name: "histogram",
        syntax: "LATENCY HISTOGRAM [command [command ...]]",
        summary: "Returns how many calls took at most 1, 2, 4... microseconds.",
        since: "7.0.0",
        docs: Docs::cost(
            "O(N) where N is the number of commands with latency information being retrieved.",
        ),
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        arity: Arity::AtLeast(2),
        run: Run::Session(histogram),
        ..ADMIN
    },
    CommandSpec {
        name: "history",
        syntax: "LATENCY HISTORY event",
        summary: "Returns the samples of an event; there are none.",
        docs: Docs::COST_1,
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        arity: Arity::Exactly(3),
        run: Run::Session(no_samples),
        ..ADMIN
    },
    CommandSpec {
        name: "latest",
        syntax: "LATENCY LATEST",
        summary: "Returns the last sample of each event; there are none.",
        docs: Docs::COST_1,
        tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
        arity: Arity::Exactly(2),
        run: Run::Session(no_samples),
        ..ADMIN
    },
    CommandSpec {
        name: "reset",
        syntax: "LATENCY RESET [event [event ...]]",
        summary: "Forgets events; returns of how many.",
        docs: Docs::COST_1,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        arity: Arity::AtLeast(2),
        run: Run::Session(reset),
        ..ADMIN
    },
];

fn histogram(ctx: &mut SessionContext<'_>, args: &Request) -> Reply {
    let metrics = ctx.node.metrics();
    let mut found = Vec::new();
    if args.len() == 2 {
        found.extend(metrics.commands());
    }
    for name in args.iter().skip(2) {
        let Some(spec) = numbering::find(name) else {
            continue;
        };
        let family = std::iter::once(spec).chain(spec.subcommands);
        found.extend(family.map(|spec| (numbering::full_name_of(spec), metrics.command(spec))));
    }
    let called = found.into_iter().filter(|(_, command)| command.latency.count() > 0);
    Reply::Map(called.map(|(name, command)| (Reply::bulk(name), describe(command))).collect())
}

fn describe(command: &CommandMetrics) -> Reply {
    let levels = command.latency.cumulative();
    let calls = levels.last().map_or(0, |(_, count)| *count);
    let integer = |number: u64| Reply::Integer(number as i64);
    let levels = levels.into_iter().map(|(micros, count)| (integer(micros), integer(count)));
    Reply::Map(vec![
        (Reply::bulk("calls"), integer(calls)),
        (Reply::bulk("histogram_usec"), Reply::Map(levels.collect())),
    ])
}

fn no_samples(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::Array(Vec::new())
}

fn reset(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    Reply::Integer(0)
}

fn graph(_: &mut SessionContext<'_>, args: &Request) -> Reply {
    let event = printable(args.arg(2));
    Reply::error(format!("ERR No samples available for event '{event}'"))
}

fn doctor(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    let text = "Latency events are not recorded. See LATENCY HISTOGRAM and INFO latencystats for \
                commands, INFO raft for fsync and round trips, SLOWLOG GET for single commands.\n";
    Reply::Verbatim(*b"txt", text.into())
}

fn print_help(_: &mut SessionContext<'_>, _: &Request) -> Reply {
    help(
        "LATENCY",
        &[
            "DOCTOR",
            "    Say where to look for latency.",
            "GRAPH <event>",
            "    Return an ASCII latency graph for the <event> class.",
            "HISTORY <event>",
            "    Return time-latency samples for the <event> class.",
            "LATEST",
            "    Return the latest latency samples for all events.",
            "RESET [<event> ...]",
            "    Reset latency data of one or more <event> classes.",
            "    (default: reset all data for all event classes)",
            "HISTOGRAM [COMMAND ...]",
            "    Return a cumulative distribution of latencies in the format of a histogram for the \
             specified command names.",
            "    If no commands are specified then all histograms are replied.",
        ],
    )
}
