//! Real processes: crashes, pauses, membership, reads on every node.
//!
//! Each test starts its own nodes on loopback and takes seconds. `fault.rs` repeats the worst of
//! it at random.
//!
//! What broke in RedisRaft under Jepsen and fuzzing, and where it is tried here:
//!
//! | | what broke | tests |
//! |---|---|---|
//! | T1 | an applied command is proposed again | `requests::one_write_is_one_entry` |
//! | T2 | a failover loses the data | `durability::writes_survive_kill_9_of_the_leader`, `..._of_a_follower` |
//! | T3 | reads before the leader knows what is committed | `reads::a_paused_leader_never_answers_with_what_was`, `reads::restarted_nodes_never_answer_with_less`, `fault` |
//! | T4 | concurrent or isolated membership changes | `membership::a_leader_without_a_majority_changes_no_members` |
//! | T5 | forwarding starves elections | `requests::forwarded_load_starts_no_elections` |
//! | T6 | replies reach the wrong client, half a MULTI | `requests::replies_never_cross_clients`, `requests::multi_blocks_are_atomic_on_every_node` |
//! | T7 | a removed node's address in another cluster | `membership::a_stray_cluster_at_a_members_address_is_refused` |
//! | T8 | a removed or wiped node serves or votes | `membership::a_removed_node_says_so_and_serves_nothing`, `membership::a_wiped_node_comes_back_as_another` |
//! | T9 | loading a snapshot crashes | `snapshots::a_node_that_was_away_comes_back_by_snapshot` |
//! | T10 | a crash while the log is compacted | the Raft log's own tests (`storage/src/log`), `fault::rounds_of_faults_with_a_small_log` |
//! | T11 | a gap between snapshot and log after a crash | the same |
//! | T12 | a snapshot without its membership | `snapshots::a_node_that_was_away_comes_back_by_snapshot` |
//! | T13 | membership in a snapshot that names the node itself | the same |
//! | T14 | removing a node that is connected | `membership::nodes_join_and_leave_under_load` |
//! | T15 | a conflicting suffix while the log is compacted; vote and term lost | the Raft log's own tests, `fault` |
//! | T16 | off by one in the log | the Raft log's property test against a model |
//! | T17 | a log file replaced while it is written | the Raft log's own tests |
//! | T18 | forwarding leaks | `requests::forwarded_load_starts_no_elections` (memory is looked at) |
//! | T19 | dropped, doubled, reordered messages | `fault` pauses and kills; the simulation (`tests/sim`) loses, doubles, delays and reorders frames |

mod disk_room;
mod durability;
mod exposure;
mod membership;
mod overload;
mod reads;
mod requests;
mod rights;
mod secrets;
mod snapshots;
mod tls;
mod users;

use kvorum_tests::client::{Client, text};
use kvorum_tests::cluster::Cluster;
use kvorum_tests::load::{self, Ledger};

/// Checks the ledgers on every running node, by linearizable reads.
fn verify_everywhere(cluster: &mut Cluster, ledgers: &[Ledger]) {
    cluster.leader();
    for node in &mut cluster.nodes {
        if node.is_running() {
            load::verify(ledgers, &mut node.client());
        }
    }
}

/// Asks and expects this text, in words a person would write.
#[track_caller]
fn expect(client: &mut Client, words: &str, expected: &str) {
    assert_eq!(text(&client.ask(words)), expected, "{words}");
}

/// Asks and expects an error that begins like this.
#[track_caller]
fn expect_error(client: &mut Client, words: &str, beginning: &str) {
    let reply = client.ask(words);
    let said = text(&reply);
    assert!(reply.is_error() && said.starts_with(beginning), "{words}: {said}");
}
