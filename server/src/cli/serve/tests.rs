//! The end of a process whose replication is broken.

use super::*;
use crate::raft::node::tests::start_alone;
use crate::raft::proposer::Operations;
use crate::state_machine::Operation;
use bytes::BytesMut;
use std::process::Command;

/// Set for the process that this test starts: itself once more, as the node that breaks.
const BREAKS: &str = "TEST_OF_A_NODE_THAT_BREAKS";

/// What that process writes when it acknowledged anything after the failure, or lived on.
const WRONG: &str = "acknowledged or alive";

#[test]
fn the_process_ends_when_rafts_task_panics() {
    if std::env::var_os(BREAKS).is_some() {
        return break_node();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "cli::serve::tests::the_process_ends_when_rafts_task_panics"]);
    let ended = child.arg("--nocapture").env(BREAKS, "yes").output().unwrap();
    let output = [ended.stdout, ended.stderr].concat();
    let output = String::from_utf8_lossy(&output);
    assert_eq!(ended.status.code(), Some(EXIT_BROKEN), "{output}");
    assert!(output.contains("Raft's task panicked; the process ends"), "{output}");
    assert!(!output.contains(WRONG), "{output}");
}

fn break_node() {
    let dir = tempfile::tempdir().unwrap();
    tracing_setup::start(&Settings::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = start_alone(dir.path()).await;
        crate::tasks::spawn(end_when_broken(node.clone()));
        let panicked = node.shared.raft.with_raft_state(|_| panic!("as a broken invariant does"));
        assert!(panicked.await.is_err());
        let mut operation = BytesMut::new();
        Operation::TimeMark { keys_max: 1 }.encode(&mut operation);
        let encoded = operation.freeze();
        let written = node.write_here(Operations::new(encoded, 1, false)).await;
        if written.is_err() {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        eprintln!("{WRONG}: {written:?}");
    });
}
