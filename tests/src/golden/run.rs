//! Runs a parsed script against a server and says, step by step, what came back.
//!
//! Every case begins with FLUSHALL and without connections. A difference does not end the run:
//! the rest of the script often shows what it is about. A server that does not answer ends its
//! case, because every later step would wait for the time limit again; one that cannot be
//! emptied ends the script.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::render::{View, render};
use super::script::{Action, Case, Script, Step};
use super::wire::{Connection, Element, READ_TIMEOUT, Received, SILENCE, encode_request};
use super::{Problem, Target, pattern};

/// Upper bound of SCAN calls in one `!scan-all`: a cursor that never returns to 0 must end.
const SCAN_CALLS_MAX: usize = 100_000;
/// Added to each sleep on Kvorum, in milliseconds: a deadline takes effect with an entry of the log, which
/// takes a busy machine longer than the sleeps that the scripts ask for.
const COMMIT_WAIT_MS: u64 = 250;

/// What a run found, in the order of the script.
#[derive(Debug, Default)]
pub struct Outcome {
    steps: Vec<StepOutcome>,
}

#[derive(Debug)]
struct StepOutcome {
    at: usize,
    expected: std::ops::Range<usize>,
    result: StepResult,
}

#[derive(Debug)]
enum StepResult {
    Same,
    Different { asked: String, expected: Vec<String>, got: Vec<String> },
    Impossible(String),
}

impl Outcome {
    /// All differences and failures.
    pub fn problems(&self) -> Vec<Problem> {
        self.steps.iter().filter_map(StepOutcome::problem).collect()
    }

    /// Only what kept steps from running: recording cannot mend that.
    pub fn impossible(&self) -> Vec<Problem> {
        let failed = |step: &&StepOutcome| matches!(step.result, StepResult::Impossible(_));
        self.steps.iter().filter(failed).filter_map(StepOutcome::problem).collect()
    }

    /// The text of the script with differing replies replaced by what came.
    pub fn recorded(&self, script: &Script) -> String {
        let mut lines = script.lines.clone();
        for step in self.steps.iter().rev() {
            if let StepResult::Different { expected, got, .. } = &step.result {
                lines.splice(step.expected.clone(), pattern::merge(expected, got));
            }
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

impl StepOutcome {
    fn problem(&self) -> Option<Problem> {
        let message = match &self.result {
            StepResult::Same => return None,
            StepResult::Impossible(message) => message.clone(),
            StepResult::Different { asked, expected, got } => {
                format!("{asked}\n{}{}", prefixed("  - ", expected), prefixed("  + ", got))
            }
        };
        Some(Problem::new(self.at + 1, message))
    }
}

fn prefixed(prefix: &str, lines: &[String]) -> String {
    lines.iter().map(|line| format!("{prefix}{line}\n")).collect()
}

/// Runs all cases of `script` that are for `target` on the server at `addr`.
pub fn run(script: &Script, addr: &str, target: Target) -> Outcome {
    let mut outcome = Outcome::default();
    for case in script.cases.iter().filter(|case| case.is_for(target)) {
        run_case(script, case, addr, target, &mut outcome);
    }
    outcome
}

fn run_case(script: &Script, case: &Case, addr: &str, target: Target, outcome: &mut Outcome) {
    if let Err(message) = flush(addr) {
        let result = StepResult::Impossible(format!("case {:?}: {message}", case.title));
        outcome.steps.push(StepOutcome { at: case.at, expected: 0..0, result });
        return;
    }
    let mut player = Player::new(addr, target);
    for step in &case.steps {
        let expected = script.lines[step.expected.clone()].to_vec();
        let result = match player.play(step) {
            Ok(got) if !step.action.is_answered() || pattern::matches(&expected, &got) => {
                StepResult::Same
            }
            Ok(got) => {
                StepResult::Different { asked: script.lines[step.at].clone(), expected, got }
            }
            Err(why) => StepResult::Impossible(format!("{}\n  {why}", script.lines[step.at])),
        };
        let ends = matches!(result, StepResult::Impossible(_));
        outcome.steps.push(StepOutcome { at: step.at, expected: step.expected.clone(), result });
        if ends {
            return;
        }
    }
}

fn flush(addr: &str) -> Result<(), String> {
    let mut connection = Connection::open(addr).map_err(|error| format!("{addr}: {error}"))?;
    let request = encode_request(&[b"FLUSHALL".to_vec()]);
    connection.send(&request).map_err(|error| error.to_string())?;
    match connection.receive(READ_TIMEOUT) {
        Received::Reply(Element::Line(line)) if line == b"+OK" => Ok(()),
        other => Err(format!("FLUSHALL was answered with {other:?}")),
    }
}

/// Plays the steps of one case: its connections and its variables.
struct Player<'a> {
    addr: &'a str,
    sleep_more_ms: u64,
    connections: BTreeMap<String, Connection>,
    variables: BTreeMap<String, Vec<u8>>,
}

impl<'a> Player<'a> {
    fn new(addr: &'a str, target: Target) -> Self {
        let sleep_more_ms = if target == Target::Kvorum { COMMIT_WAIT_MS } else { 0 };
        Player { addr, sleep_more_ms, connections: BTreeMap::new(), variables: BTreeMap::new() }
    }

    /// Plays one step and returns what came as lines.
    ///
    /// # Errors
    /// What kept the step from being played: no connection, no reply in time, bytes that are no
    /// reply.
    fn play(&mut self, step: &Step) -> Result<Vec<String>, String> {
        let name = step.connection.as_str();
        match &step.action {
            Action::Request(view, args) => {
                self.send(name, args)?;
                self.receive(name, *view)
            }
            Action::Raw { bytes, replies } => {
                self.connection(name)?.send(bytes).map_err(|error| error.to_string())?;
                let mut lines = Vec::new();
                for _ in 0..*replies {
                    lines.extend(self.receive(name, View::Exact)?);
                }
                Ok(lines)
            }
            Action::Send(args) => self.send(name, args).map(|()| Vec::new()),
            Action::Read => self.receive(name, View::Exact),
            Action::Close => self.receive(name, View::Exact),
            Action::Silent => match self.connection(name)?.receive(SILENCE) {
                Received::Timeout => Ok(vec!["silent".into()]),
                other => self.shown(name, other, View::Exact),
            },
            Action::HangUp => {
                self.connections.remove(name);
                Ok(Vec::new())
            }
            Action::Sleep { ms } => {
                thread::sleep(Duration::from_millis(ms + self.sleep_more_ms));
                Ok(Vec::new())
            }
            Action::Resp3 => {
                self.send(name, &[b"HELLO".to_vec(), b"3".to_vec()])?;
                self.receive(name, View::Exact)
            }
            Action::ScanAll(options) => self.scan_all(name, options),
            Action::Times { count, args } => self.times(name, *count, args),
            Action::Let { name: variable, args } => self.bind(name, variable, args),
        }
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection, String> {
        if !self.connections.contains_key(name) {
            let opened = Connection::open(self.addr).map_err(|e| format!("{}: {e}", self.addr))?;
            self.connections.insert(name.to_owned(), opened);
        }
        Ok(self.connections.get_mut(name).expect("inserted above"))
    }

    fn send(&mut self, name: &str, args: &[Vec<u8>]) -> Result<(), String> {
        let args: Vec<_> = args.iter().map(|arg| self.substitute(arg)).collect();
        let request = encode_request(&args);
        self.connection(name)?.send(&request).map_err(|error| error.to_string())
    }

    fn receive(&mut self, name: &str, view: View) -> Result<Vec<String>, String> {
        let received = self.connection(name)?.receive(READ_TIMEOUT);
        self.shown(name, received, view)
    }

    fn shown(&mut self, name: &str, got: Received, view: View) -> Result<Vec<String>, String> {
        match got {
            Received::Reply(element) => Ok(render(&element, view)),
            Received::Closed => {
                self.connections.remove(name);
                Ok(vec!["closed".into()])
            }
            Received::Timeout => Err(format!("no reply within {READ_TIMEOUT:?}")),
            Received::Broken(why) => Err(why),
        }
    }

    /// One request whose reply the harness itself needs.
    fn ask(&mut self, name: &str, args: &[Vec<u8>]) -> Result<Element, String> {
        self.send(name, args)?;
        match self.connection(name)?.receive(READ_TIMEOUT) {
            Received::Reply(element) => Ok(element),
            other => Err(format!("no reply: {other:?}")),
        }
    }

    fn scan_all(&mut self, name: &str, options: &[Vec<u8>]) -> Result<Vec<String>, String> {
        let mut cursor = b"0".to_vec();
        let mut keys = BTreeSet::new();
        for _ in 0..SCAN_CALLS_MAX {
            let mut args = vec![b"SCAN".to_vec(), cursor];
            args.extend_from_slice(options);
            let reply = self.ask(name, &args)?;
            let Some((next, page)) = scan_page(&reply) else {
                return Ok(render(&reply, View::Exact));
            };
            keys.extend(page);
            cursor = next;
            if cursor == b"0" {
                return Ok(render(&array_of(keys), View::Exact));
            }
        }
        Err(format!("no cursor 0 in {SCAN_CALLS_MAX} calls of SCAN"))
    }

    fn times(&mut self, name: &str, count: usize, args: &[Vec<u8>]) -> Result<Vec<String>, String> {
        let mut first: Option<Vec<String>> = None;
        for i in 0..count {
            self.variables.insert("i".into(), i.to_string().into_bytes());
            self.send(name, args)?;
            let lines = self.receive(name, View::Exact)?;
            match &first {
                None => first = Some(lines),
                Some(first) if *first == lines => {}
                Some(_) => return Ok([vec![format!("request {i} differs:")], lines].concat()),
            }
        }
        self.variables.remove("i");
        Ok(first.unwrap_or_default())
    }

    fn bind(
        &mut self,
        name: &str,
        variable: &str,
        args: &[Vec<u8>],
    ) -> Result<Vec<String>, String> {
        let reply = self.ask(name, args)?;
        let value = match &reply {
            Element::Line(line) => line[1..].to_vec(),
            Element::Bulk(_, content) => content.clone(),
            Element::Aggregate(..) => return Err("!let takes an integer or a string".into()),
        };
        self.variables.insert(variable.to_owned(), value);
        Ok(render(&reply, View::Exact))
    }

    /// Puts variables and the clock into an argument. Braces around other words stay.
    fn substitute(&self, arg: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(arg.len());
        let mut rest = arg;
        while let Some(open) = rest.iter().position(|&byte| byte == b'{') {
            out.extend_from_slice(&rest[..open]);
            rest = &rest[open..];
            let value = rest.iter().position(|&byte| byte == b'}').and_then(|close| {
                let name = std::str::from_utf8(&rest[1..close]).ok()?;
                Some((self.variable(name)?, close + 1))
            });
            match value {
                Some((value, taken)) => {
                    out.extend_from_slice(&value);
                    rest = &rest[taken..];
                }
                None => {
                    out.push(b'{');
                    rest = &rest[1..];
                }
            }
        }
        out.extend_from_slice(rest);
        out
    }

    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        if let Some(value) = self.variables.get(name) {
            return Some(value.clone());
        }
        let split = name.find(['+', '-']).unwrap_or(name.len());
        let (clock, offset) = name.split_at(split);
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis();
        let now_ms = i64::try_from(now_ms).ok()?;
        let base = match clock {
            "now_ms" => now_ms,
            "now_s" => now_ms / 1000,
            _ => return None,
        };
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
        Some((base + offset).to_string().into_bytes())
    }
}

/// The cursor and the keys of a reply to SCAN.
fn scan_page(reply: &Element) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Element::Aggregate(_, parts) = reply else {
        return None;
    };
    let [Element::Bulk(_, cursor), Element::Aggregate(_, items)] = parts.as_slice() else {
        return None;
    };
    let key = |item: &Element| match item {
        Element::Bulk(_, key) => Some(key.clone()),
        _ => None,
    };
    Some((cursor.clone(), items.iter().map(key).collect::<Option<_>>()?))
}

fn array_of(keys: BTreeSet<Vec<u8>>) -> Element {
    let header = format!("*{}", keys.len()).into_bytes();
    let bulk = |key: Vec<u8>| Element::Bulk(format!("${}", key.len()).into_bytes(), key);
    Element::Aggregate(header, keys.into_iter().map(bulk).collect())
}
