//! Parses a script into cases and steps. Lines keep their place, so that recording can replace
//! the replies and leave every other line as its author wrote it.

use std::ops::Range;

use super::render::View;
use super::words;
use super::{Problem, Target};

/// A parsed script.
#[derive(Debug)]
pub struct Script {
    pub lines: Vec<String>,
    /// The only target, where the header names one.
    pub only: Option<Target>,
    /// Arguments of the redis-server that the script is recorded from.
    pub redis_args: Vec<String>,
    /// In a cluster, the script is for the node that leads.
    pub leader_only: bool,
    pub cases: Vec<Case>,
}

/// A part of a script that begins on an empty server.
#[derive(Debug)]
pub struct Case {
    pub title: String,
    /// Index into the script's lines.
    pub at: usize,
    pub only: Option<Target>,
    pub steps: Vec<Step>,
}

/// One request, or one order to the harness, with the reply that is expected.
#[derive(Debug)]
pub struct Step {
    /// Index into the script's lines.
    pub at: usize,
    /// Name of the connection; empty for the usual one.
    pub connection: String,
    pub action: Action,
    /// Where the expected lines are.
    pub expected: Range<usize>,
}

/// What a step does. Arguments are still without their variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Request(View, Vec<Vec<u8>>),
    Raw { bytes: Vec<u8>, replies: usize },
    Send(Vec<Vec<u8>>),
    Read,
    Close,
    Silent,
    HangUp,
    Sleep { ms: u64 },
    Resp3,
    ScanAll(Vec<Vec<u8>>),
    Times { count: usize, args: Vec<Vec<u8>> },
    Let { name: String, args: Vec<Vec<u8>> },
}

impl Action {
    /// Whether a reply is compared after this step.
    pub fn is_answered(&self) -> bool {
        !matches!(self, Action::Send(_) | Action::HangUp | Action::Sleep { .. } | Action::Resp3)
            && !matches!(self, Action::Raw { replies: 0, .. })
    }
}

impl Script {
    /// Parses the text of a script.
    ///
    /// # Errors
    /// The first line that is not of the format.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut script = Script {
            lines,
            only: None,
            redis_args: Vec::new(),
            leader_only: false,
            cases: Vec::new(),
        };
        let mut at = 0;
        while at < script.lines.len() {
            at = script.parse_line(at).map_err(|message| Problem::new(at + 1, message))?;
        }
        if script.cases.is_empty() {
            return Err(Problem::new(1, "a script without a case (\"== title\")"));
        }
        Ok(script)
    }

    /// Whether anything in this script is for `target`.
    pub fn is_for(&self, target: Target) -> bool {
        self.only.is_none_or(|only| only == target)
            && self.cases.iter().any(|case| case.is_for(target))
    }

    /// The script as text.
    pub fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Parses the line at index `at` and what belongs to it; returns the index of the next one.
    fn parse_line(&mut self, at: usize) -> Result<usize, String> {
        let line = self.lines[at].clone();
        if line.trim().is_empty() || is_comment(&line) {
            return Ok(at + 1);
        }
        if let Some(title) = line.strip_prefix("== ") {
            let title = title.to_owned();
            self.cases.push(Case { title, at, only: None, steps: Vec::new() });
            return Ok(at + 1);
        }
        if let Some(directive) = line.strip_prefix('@') {
            self.directive(directive)?;
            return Ok(at + 1);
        }
        let Some((connection, order)) = request_line(&line) else {
            return Err(format!("a reply without a request: {line}"));
        };
        let end = at + 1 + self.lines[at + 1..].iter().take_while(|l| is_reply(l)).count();
        let step = Step {
            at,
            connection: connection.to_owned(),
            action: parse_action(order)?,
            expected: at + 1..end,
        };
        if !step.action.is_answered() && !step.expected.is_empty() {
            return Err("this step has no reply to compare".into());
        }
        let case = self.cases.last_mut().ok_or("a request before the first \"== title\"")?;
        case.steps.push(step);
        Ok(end)
    }

    fn directive(&mut self, text: &str) -> Result<(), String> {
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        if rest.trim().is_empty() {
            return Err(format!("@{name} needs a reason or arguments after it"));
        }
        let only = match name {
            "redis-only" => Target::Redis,
            "kvorum-only" => Target::Kvorum,
            "redis-args" if self.cases.is_empty() => {
                self.redis_args = rest.split_whitespace().map(str::to_owned).collect();
                return Ok(());
            }
            "leader-only" if self.cases.is_empty() => {
                self.leader_only = true;
                return Ok(());
            }
            _ => return Err(format!("unknown or misplaced directive @{name}")),
        };
        match self.cases.last_mut() {
            None => self.only = Some(only),
            Some(case) if case.steps.is_empty() => case.only = Some(only),
            Some(_) => return Err(format!("@{name} belongs right after its case's title")),
        }
        Ok(())
    }
}

impl Case {
    /// Whether this case is for `target`.
    pub fn is_for(&self, target: Target) -> bool {
        self.only.is_none_or(|only| only == target)
    }
}

fn is_comment(line: &str) -> bool {
    line == "#" || line.starts_with("# ")
}

fn is_reply(line: &str) -> bool {
    !line.trim().is_empty()
        && !is_comment(line)
        && !line.starts_with("== ")
        && !line.starts_with('@')
        && request_line(line).is_none()
}

/// The connection's name and the order in a line like `a> GET k`.
fn request_line(line: &str) -> Option<(&str, &str)> {
    let (name, order) = line.split_once("> ")?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some((name, order))
}

fn parse_action(order: &str) -> Result<Action, String> {
    let mut args = words::split(order)?;
    if !order.starts_with('!') {
        return if args.is_empty() {
            Err("an empty request".into())
        } else {
            Ok(Action::Request(View::Exact, args))
        };
    }
    let verb = String::from_utf8_lossy(&args.remove(0)).into_owned();
    let bare = |action: Action, args: &[Vec<u8>]| {
        if args.is_empty() { Ok(action) } else { Err(format!("{verb} takes no arguments")) }
    };
    match verb.as_str() {
        "!raw" => parse_raw(order, args),
        "!send" => Ok(Action::Send(args)),
        "!read" => bare(Action::Read, &args),
        "!close" => bare(Action::Close, &args),
        "!silent" => bare(Action::Silent, &args),
        "!hangup" => bare(Action::HangUp, &args),
        "!resp3" => bare(Action::Resp3, &args),
        "!sleep" => Ok(Action::Sleep { ms: take_number(&mut args)? }),
        "!sorted" => Ok(Action::Request(View::Sorted, args)),
        "!sorted-pairs" => Ok(Action::Request(View::SortedPairs, args)),
        "!lines" => Ok(Action::Request(View::Lines, args)),
        "!scan-all" => Ok(Action::ScanAll(args)),
        "!times" => {
            let count = take_number(&mut args)?;
            let count = usize::try_from(count).map_err(|e| e.to_string())?;
            Ok(Action::Times { count, args })
        }
        "!let" if args.len() >= 2 => {
            let name = String::from_utf8_lossy(&args.remove(0)).into_owned();
            Ok(Action::Let { name, args })
        }
        _ => Err(format!("unknown or incomplete order {verb}")),
    }
}

/// `!raw [replies] "bytes"...`: the first word counts as a number only without quotes.
fn parse_raw(order: &str, mut args: Vec<Vec<u8>>) -> Result<Action, String> {
    let text = order.trim_start_matches("!raw").trim_start();
    let replies = if text.starts_with(|c: char| c.is_ascii_digit()) {
        usize::try_from(take_number(&mut args)?).map_err(|e| e.to_string())?
    } else {
        1
    };
    if args.is_empty() {
        return Err("!raw without bytes".into());
    }
    Ok(Action::Raw { bytes: args.concat(), replies })
}

fn take_number(args: &mut Vec<Vec<u8>>) -> Result<u64, String> {
    if args.is_empty() {
        return Err("a number is missing".into());
    }
    let word = String::from_utf8_lossy(&args.remove(0)).into_owned();
    word.parse().map_err(|_| format!("{word:?} is not a number"))
}
