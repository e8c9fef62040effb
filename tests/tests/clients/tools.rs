//! redis-cli and redis-benchmark as they are installed; a test whose tool is not there says so
//! and passes.

use kvorum_tests::cluster::{CLUSTER_WAIT, Cluster};
use kvorum_tests::node::{Node, wait_until};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// How long a tool may run.
const TOOL_WAIT: Duration = Duration::from_secs(60);

/// Whether a tool is installed; a test without its tool says so and passes.
fn is_installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {tool} is not installed, nothing was tested with it");
    }
    found
}

/// Runs a tool against a node with this standard input; it must end in time.
fn run(tool: &str, node: &Node, args: &[&str], input: &[u8]) -> Output {
    let port = node.addr.rsplit(':').next().expect("a port");
    let mut child = Command::new(tool)
        .args(["-h", "127.0.0.1", "-p", port])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let (done, ended) = (Arc::new(AtomicBool::new(false)), Instant::now() + TOOL_WAIT);
    let watch = {
        let (done, pid) = (done.clone(), child.id());
        thread::spawn(move || {
            while !done.load(SeqCst) && Instant::now() < ended {
                thread::sleep(Duration::from_millis(20));
            }
            if !done.load(SeqCst) {
                let _ = Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status();
            }
        })
    };
    let output = child.wait_with_output().expect("the tool's output");
    done.store(true, SeqCst);
    watch.join().expect("the watch");
    // A tool that wants no input may have closed it.
    let _ = writer.join().expect("the writer");
    output
}

/// What redis-cli prints, when it succeeds.
fn cli(node: &Node, args: &[&str], input: &str) -> String {
    let output = run("redis-cli", node, args, input.as_bytes());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "redis-cli {args:?}: {printed}{errors}");
    printed
}

#[test]
fn redis_cli_works_on_one_node_and_on_every_node_of_a_cluster() {
    if !is_installed("redis-cli") {
        return;
    }
    let one = Cluster::start(1, &[]);
    cli_writes(&one.nodes[0]);
    cli_reads(&one.nodes[0], "one_node");
    let mut three = Cluster::start(3, &[]);
    let leader = three.leader();
    cli_writes(&three.nodes[leader]);
    for (at, node) in three.nodes.iter().enumerate() {
        cli_reads(node, &format!("node_{at}"));
        let role = if at == leader { "role:master" } else { "role:slave" };
        assert!(cli(node, &["INFO", "replication"], "").contains(role), "{role}");
    }
    let follower = three.others(leader)[0];
    let redirect = cli(&three.nodes[follower], &["SET", "foo", "bar"], "");
    assert_eq!(redirect.trim(), format!("MOVED 12182 {}", three.nodes[leader].addr));
    three.nodes[leader].kill();
    // Until the election the follower names the dead leader, which redis-cli does not reach.
    wait_until(CLUSTER_WAIT, "redis-cli is sent to the new leader", || {
        let args = ["-c", "SET", "after", "failover"];
        run("redis-cli", &three.nodes[follower], &args, b"").stdout == b"OK\n"
    });
    assert_eq!(cli(&three.nodes[follower], &["-c", "GET", "after"], ""), "failover\n");
}

fn cli_writes(node: &Node) {
    let commands: String = (0..10_000)
        .map(|number| format!("*3\r\n$3\r\nSET\r\n$9\r\nmass:{number:04}\r\n$4\r\n{number:04}\r\n"))
        .collect();
    let printed = cli(node, &["--pipe"], &commands);
    assert!(printed.contains("errors: 0, replies: 10000"), "{printed}");
    let inline: String = (0..1000).map(|number| format!("SET inline:{number} x\r\n")).collect();
    let printed = cli(node, &["--pipe"], &inline);
    assert!(printed.contains("errors: 0, replies: 1000"), "{printed}");
    assert_eq!(cli(node, &[], "SET a 1\nINCR a\nMULTI\nINCR a\nEXEC\n"), "OK\n2\nOK\nQUEUED\n3\n");
    assert_eq!(cli(node, &["-x", "SET", "from-input"], "some text"), "OK\n");
    assert_eq!(cli(node, &["-n", "5", "SET", "k", "v"], ""), "OK\n");
    assert_eq!(cli(node, &["-r", "3", "INCR", "repeated"], ""), "1\n2\n3\n");
}

fn cli_reads(node: &Node, name: &str) {
    // -c follows a redirect where there is one.
    assert_eq!(cli(node, &["-c", "SET", name, "-c"], ""), "OK\n");
    assert_eq!(cli(node, &["-c", "GET", name], ""), "-c\n");
    assert_eq!(cli(node, &["-3", "-c", "SET", name, "-3"], ""), "OK\n");
    assert_eq!(cli(node, &["-3", "GET", name], ""), "-3\n");
    assert_eq!(cli(node, &["GET", "from-input"], ""), "some text\n");
    assert_eq!(cli(node, &["-n", "5", "DBSIZE"], ""), "1\n");
    let hello = cli(node, &["-3", "--json", "HELLO"], "");
    assert!(hello.contains("\"proto\":3"), "{hello}");
    let big = cli(node, &["--bigkeys"], "");
    assert!(big.contains("Biggest string found") && !big.contains("ERR"), "{big}");
    let memory = cli(node, &["--memkeys"], "");
    assert!(memory.contains("Biggest string found"), "{memory}");
    let found: BTreeSet<String> =
        cli(node, &["--scan", "--pattern", "mass:77*"], "").lines().map(str::to_owned).collect();
    assert_eq!(found, (7700..7800).map(|number| format!("mass:{number}")).collect());
    assert!(cli(node, &["INFO"], "").contains("kvorum_version:"));
    assert!(cli(node, &["CLUSTER", "SLOTS"], "").contains("16383"));
    let latency = cli(node, &["--latency", "-i", "0.2", "--raw"], "");
    assert_eq!(latency.split_whitespace().count(), 4, "{latency}");
    // It runs until it is ended, and fills a pipe's buffer before anything is seen.
    let mut stat = Command::new("redis-cli")
        .args(["-p", node.addr.rsplit(':').next().expect("a port"), "--stat", "-i", "0.005"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli starts");
    let mut printed = [0; 400];
    stat.stdout.take().expect("a pipe").read_exact(&mut printed).expect("lines of --stat");
    stat.kill().and_then(|()| stat.wait()).expect("redis-cli ends");
    let printed = String::from_utf8_lossy(&printed);
    assert!(printed.contains("------- data ------") && printed.contains("(+"), "{printed}");
}

#[test]
fn redis_benchmark_runs_without_an_error() {
    if !is_installed("redis-benchmark") {
        return;
    }
    for count in [1, 3] {
        let mut cluster = Cluster::start(count, &[]);
        let leader = cluster.leader();
        let node = &cluster.nodes[leader];
        let all = "ping_inline,ping_mbulk,set,get,incr,mset";
        benchmark(node, &["-t", all, "-n", "2000"]);
        benchmark(node, &["-t", all, "-n", "5000", "-P", "16"]);
        benchmark(node, &["-t", "ping_mbulk,set,get", "-n", "3000", "-c", "500"]);
        benchmark(node, &["-t", "set,get", "-n", "2000", "-3", "-r", "1000", "-d", "1000"]);
        // It wants several masters; one group of nodes has one.
        let output = run("redis-benchmark", node, &["--cluster", "-t", "get", "-n", "1"], b"");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("Invalid cluster: 1 node(s)"), "{errors}");
    }
}

fn benchmark(node: &Node, args: &[&str]) {
    let mut all = vec!["-q"];
    all.extend(args);
    let output = run("redis-benchmark", node, &all, b"");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{args:?}: {printed}{errors}");
    assert!(!printed.contains("ERR") && !printed.contains("WARNING"), "{args:?}: {printed}");
    assert!(printed.contains("requests per second"), "{args:?}: {printed}");
}
