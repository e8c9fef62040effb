//! `kvorum demo` and `kvorum check` as a newcomer meets them: the tour of the README, line by line,
//! and what the demo promises about ports, its own end, and a second start.
//!
//! The tour needs `redis-cli` and `bash`; without them it says that it was skipped. Ports and the
//! directory of the README are replaced by free ones, so that a real demo can run beside it.

use kvorum_tests::client::{Client, text};
use kvorum_tests::node::{POLL, binary, wait_until};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Client ports; the demo puts peers 10,000 above, below the range of outgoing connections.
const PORTS: std::ops::Range<u16> = 22_000..22_700;
/// Ports of a demo and of the node that joins it.
const PORTS_OF_ONE: u16 = 4;
/// How long a demo may take to say who leads, and to stop.
const DEMO_WAIT: Duration = Duration::from_secs(60);
/// How long one line of the tour may take.
const LINE_WAIT: Duration = Duration::from_secs(60);

/// A running `kvorum demo`.
struct Demo {
    child: Child,
    input: ChildStdin,
    output: PathBuf,
    base_port: u16,
}

impl Demo {
    /// Starts a demo and waits until it says who leads.
    fn start(root: &Path, base_port: u16, arguments: &[&str]) -> Self {
        let output = root.join("demo.output");
        let file = File::create(&output).expect("a file for the output");
        let mut child = Command::new(binary())
            .arg("demo")
            .args(arguments)
            .arg("--data-dir")
            .arg(root.join("kvorum-demo"))
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("kvorum starts");
        let input = child.stdin.take().expect("it is a pipe");
        let mut demo = Demo { child, input, output, base_port };
        demo.wait_for("Here, lines are commands");
        demo
    }

    fn says(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until the demo has written this.
    fn wait_for(&mut self, expected: &str) {
        wait_until(DEMO_WAIT, &format!("the demo says '{expected}'"), || {
            let ended = self.child.try_wait().expect("the process can be asked");
            let said = self.says();
            assert!(ended.is_none() || said.contains(expected), "the demo ended early:\n{said}");
            said.contains(expected)
        });
    }

    fn line(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the demo reads lines");
    }

    fn addr(&self, number: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + number - 1)
    }

    /// A client of the node that leads now.
    fn leader(&self) -> Client {
        let mut found = None;
        wait_until(DEMO_WAIT, "a node leads", || {
            found = (1..=3).find_map(|number| {
                let mut client = Client::connect(&self.addr(number)).ok()?;
                let info = text(&client.call(&["INFO", "replication"]).ok()?);
                info.contains("role:master").then_some(client)
            });
            found.is_some()
        });
        found.expect("it was just found")
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(DEMO_WAIT, "the demo ends", || {
            status = self.child.try_wait().expect("the process can be asked");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Waits until nobody serves clients at any of the demo's ports.
    fn wait_for_silence(&self) {
        wait_until(DEMO_WAIT, "all nodes have ended", || {
            (1..=3).all(|number| TcpStream::connect(self.addr(number)).is_err())
        });
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Its nodes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first of some free client ports whose peer ports are free, too.
fn free_base_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = (PORTS.end - PORTS.start) / PORTS_OF_ONE;
    let spread = (std::process::id() % u32::from(count)) as u16;
    for _ in 0..count {
        let turn = (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let base = PORTS.start + turn * PORTS_OF_ONE;
        let mut ports = (base..base + PORTS_OF_ONE).flat_map(|port| [port, port + 10_000]);
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if ports.all(free) {
            return base;
        }
    }
    panic!("no free ports in {PORTS:?}");
}

fn root() -> TempDir {
    tempfile::Builder::new().prefix("kvorum-tour-").tempdir().expect("a temporary directory")
}

fn check(dir: &Path) -> (Option<i32>, String) {
    let output = Command::new(binary()).arg("check").arg(dir).output().expect("kvorum starts");
    let written = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&written).into_owned())
}

#[test]
fn a_taken_port_is_named_before_anything_starts() {
    let (root, base) = (root(), free_base_port());
    let dir = root.path().join("demo");
    let _taken = TcpListener::bind(("127.0.0.1", base + 1)).expect("it was free");
    let output = Command::new(binary())
        .args(["demo", "--base-port", &base.to_string(), "--data-dir"])
        .arg(&dir)
        .output()
        .expect("kvorum starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("port {} (for clients of node 2)", base + 1)), "{error}");
    assert!(!dir.exists());
}

#[test]
fn no_node_outlives_a_killed_demo_and_a_second_start_continues() {
    let (root, base) = (root(), free_base_port());
    let mut demo = Demo::start(root.path(), base, &["--base-port", &base.to_string()]);
    let ok = demo.leader().call(&["SET", "greeting", "hello"]).expect("a reply");
    assert_eq!(text(&ok), "OK");
    let data = |number: u16| root.path().join(format!("kvorum-demo/node-{number}"));
    assert_eq!(check(&data(1)).0, Some(2), "a node that runs cannot be checked");
    demo.child.kill().expect("the demo can be killed");
    demo.end();
    demo.wait_for_silence();
    for number in 1..=3 {
        let mut checked = (None, String::new());
        // A node that stops closes its port first and its log last.
        wait_until(DEMO_WAIT, "the node has ended", || {
            checked = check(&data(number));
            checked.0 != Some(2)
        });
        assert_eq!(checked.0, Some(0), "{}", checked.1);
    }

    let mut demo = Demo::start(root.path(), base, &[]);
    let greeting = demo.leader().call(&["GET", "greeting"]).expect("a reply");
    assert_eq!(text(&greeting), "hello");
    demo.line("kill 2");
    demo.wait_for("node 2 was killed");
    assert!(TcpStream::connect(demo.addr(2)).is_err());
    demo.line("restart 2");
    wait_until(DEMO_WAIT, "node 2 answers again", || {
        let asked = Client::connect(&demo.addr(2)).and_then(|mut node| node.call(&["PING"]));
        asked.is_ok()
    });
    let terminated = Command::new("kill").arg(demo.child.id().to_string()).status();
    assert!(terminated.expect("kill can be run").success());
    let status = demo.end();
    assert!(status.success(), "{status}\n{}", demo.says());
    assert!(demo.says().ends_with("all nodes have stopped\n"), "{}", demo.says());
    demo.wait_for_silence();

    // A byte of the log's first records.
    let segment = data(1).join("log/0000000001.seg");
    let mut bytes = fs::read(&segment).expect("the log has a first segment");
    bytes[200] ^= 1;
    fs::write(&segment, bytes).expect("it can be written");
    let (code, report) = check(&data(1));
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("DAMAGED"), "{report}");
}

/// What one line of the tour is for.
enum Step {
    /// For a shell, with the output it is to have.
    Shell { command: String, expected: Vec<String> },
    /// For the demo's terminal.
    Demo(String),
}

#[test]
fn every_line_of_the_tour_does_what_the_readme_says() {
    let missing = ["redis-cli", "bash"].into_iter().find(|program| {
        let asked = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        !asked.is_ok_and(|status| status.success())
    });
    if let Some(program) = missing {
        eprintln!("SKIPPED: {program} is not installed, the tour was not taken");
        return;
    }
    let (root, base) = (root(), free_base_port());
    let steps = steps(&here(&tour(), root.path(), base));
    assert!(steps.len() > 20, "the tour has lost lines");
    let mut demo = Demo::start(root.path(), base, &["--base-port", &base.to_string()]);
    let mut shell = Shell::start(root.path());
    for step in steps {
        match step {
            Step::Demo(line) => demo.line(&line),
            Step::Shell { command, expected } => {
                let output = shell.run(&command).unwrap_or_else(|output| {
                    panic!("`{command}` did not end:\n{}\n{}", output.join("\n"), demo.says());
                });
                let agrees = output.len() == expected.len()
                    && output.iter().zip(&expected).all(|(line, pattern)| fits(line, pattern));
                assert!(
                    agrees,
                    "`{command}`\n--- printed\n{}\n--- the README says\n{}\n--- the demo says\n{}",
                    output.join("\n"),
                    expected.join("\n"),
                    demo.says()
                );
            }
        }
    }
    assert!(demo.end().success());
}

/// The tour's section of the README.
fn tour() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("the README is there");
    let (_, rest) = readme.split_once("\n## A tour of five minutes\n").expect("it has a tour");
    rest.split("\n## ").next().expect("there is a first part").to_owned()
}

/// With the ports, the directory and the binary of this test.
fn here(tour: &str, root: &Path, base: u16) -> String {
    let mut tour = tour.to_owned();
    for offset in 0..PORTS_OF_ONE {
        tour = tour.replace(&(6379 + offset).to_string(), &(base + offset).to_string());
    }
    let dir = root.join("kvorum-demo").display().to_string();
    let program = binary().display().to_string();
    tour.replace("kvorum-demo", &dir).replace("./target/release/kvorum", &program)
}

fn steps(tour: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut language = "";
    for line in tour.lines() {
        if let Some(after) = line.strip_prefix("```") {
            language = if language.is_empty() { after } else { "" };
            assert!(matches!(language, "" | "sh" | "demo"), "a block nobody runs: {line}");
        } else if language == "demo" {
            steps.push(Step::Demo(line.to_owned()));
        } else if language == "sh" {
            match (line.strip_prefix("#> "), steps.last_mut()) {
                (Some(output), Some(Step::Shell { expected, .. })) => {
                    expected.push(output.to_owned());
                }
                (Some(_), _) => panic!("output of no command: {line}"),
                (None, _) => {
                    steps.push(Step::Shell { command: line.to_owned(), expected: Vec::new() });
                }
            }
        }
    }
    steps
}

/// Whether a line is as expected, where `...` stands for anything.
fn fits(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split("...");
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last == Some("")
}

/// One bash for the whole tour, as its reader has one terminal.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// Printed after each command.
const DONE: &str = "@@ done";

impl Shell {
    fn start(dir: &Path) -> Self {
        let mut bash = Command::new("bash");
        // A reader has no variables of the tests; kvorum would take them for settings.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KVORUM_") {
                bash.env_remove(name);
            }
        }
        let mut child = bash
            .args(["--noprofile", "--norc"])
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts");
        let mut input = child.stdin.take().expect("it is a pipe");
        writeln!(input, "exec 2>&1").expect("bash reads");
        let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Shell { child, input, lines }
    }

    /// Runs one line; returns what it printed, without empty lines and carriage returns. `Err`: it
    /// did not end in time.
    fn run(&mut self, line: &str) -> Result<Vec<String>, Vec<String>> {
        writeln!(self.input, "{line}\necho; echo '{DONE}'").expect("bash reads");
        let deadline = Instant::now() + LINE_WAIT;
        let mut printed = Vec::new();
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(wait.max(POLL)) {
                Ok(line) if line == DONE => return Ok(printed),
                Ok(line) => {
                    let line = line.trim_end();
                    if !line.is_empty() {
                        printed.push(line.to_owned());
                    }
                }
                Err(_) => return Err(printed),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // What the tour left running in the background; what has ended is no trouble.
        let _ = writeln!(self.input, "kill $(jobs -p) 2> /dev/null; exit");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn three_dots_stand_for_anything() {
    assert!(fits("MOVED 12 127.0.0.1:1", "MOVED ... 127.0.0.1:..."));
    assert!(fits("same", "same") && !fits("same but longer", "same"));
    assert!(!fits("role:slave", "role:master") && !fits("a=1,b", "a=...,c"));
    assert!(fits("a=1,c", "a=...,c") && !fits("a=1,c2", "a=...,c"));
}
