//! What the demo writes to standard output.

use super::plan::{NodePlan, Plan};
use super::probe::Seen;
use super::process::Process;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitStatus;

/// What a line of standard input can ask for.
pub(super) const HELP: &str = concat!(
    "  status        the table of nodes\n",
    "  kill N        end node N without warning (kill -9), to watch the others take over\n",
    "  restart [N]   start node N again, a running one is stopped first; without N: all that are down\n",
    "  help          this\n",
    "  quit          stop all nodes and end; Ctrl-C does the same",
);

/// Lines of a log that are shown when a node cannot start.
const LOG_LINES_SHOWN: usize = 8;

/// Writes a text and a line end.
pub(super) fn say(text: &str) {
    // Whoever read the output may be gone; the nodes run on until they are told to stop.
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

pub(super) fn starting(plan: &Plan) -> String {
    let (nodes, dir) = (plan.nodes, plan.dir.display());
    match plan.is_continued {
        false => format!("starting {nodes} nodes, with data and logs in {dir}"),
        true => format!("starting the {nodes} nodes in {dir} again, with their data"),
    }
}

/// Once there is a leader: who it is, where all are, and what to try.
pub(super) fn welcome(
    nodes: &[Process],
    seen: &[Option<Seen>],
    leading: Option<(usize, u64)>,
) -> String {
    let Some((leader, term)) = leading else { return table(nodes, seen) };
    let port = nodes[leader].plan.port;
    let other = nodes[(leader + 1) % nodes.len()].plan.port;
    format!(
        "\n{}\n\n{}\n\nTry it, in another terminal:\n  \
         redis-cli -p {port} set greeting hello\n  \
         redis-cli -p {other} get greeting\n  \
         redis-cli -c -p {other} set greeting goodbye\n  \
         redis-cli -p {other} info replication\n  \
         redis-benchmark -p {port} -t set,get -n 100000 -c 50 -q\n\n\
         Here, lines are commands:\n{HELP}\n",
        leads(&nodes[leader].plan, term),
        table(nodes, seen),
    )
}

/// One line for each node.
pub(super) fn table(nodes: &[Process], seen: &[Option<Seen>]) -> String {
    let mut text = format!("  {:<6}{:<18}{:<12}{:<10}log", "node", "clients", "role", "process");
    for (node, seen) in nodes.iter().zip(seen) {
        let role = match (node.is_running(), seen) {
            (false, _) => "down",
            (true, Some(seen)) => &seen.role,
            (true, None) => "no answer",
        };
        let id = node.id().map_or_else(|| "-".to_owned(), |id| id.to_string());
        let NodePlan { number, listen, log_file, .. } = &node.plan;
        let log = log_file.display();
        text.push_str(&format!("\n  {number:<6}{listen:<18}{role:<12}{id:<10}{log}"));
    }
    text
}

pub(super) fn leads(node: &NodePlan, term: u64) -> String {
    format!("node {} leads (term {term}): {}", node.number, node.listen)
}

pub(super) fn ended(node: &NodePlan, status: ExitStatus) -> String {
    let number = node.number;
    format!("node {number} has ended ({status}); 'restart {number}' starts it again")
}

pub(super) fn ended_early(node: &NodePlan, status: ExitStatus) -> String {
    let (number, log) = (node.number, node.log_file.display());
    let tail = tail(&node.log_file);
    format!("node {number} could not start ({status}); {log} ends with:\n{tail}")
}

fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(LOG_LINES_SHOWN);
    lines[start..].join("\n")
}
