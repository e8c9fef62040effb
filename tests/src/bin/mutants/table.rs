//! On which tests each mutant is tried, the cheapest first.
//!
//! The tests of the log and of the state machine come first because they take less than a second; then
//! those on real processes, through which users would see the same bug. The simulation has to catch
//! what it can show by itself (`--suite sim` tries it alone); it has no damaged disks, no strangers, no
//! MULTI blocks and one client for each request.

use std::fmt;
use storage::mutants::Mutant;

/// The program that a test is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suite {
    /// Unit tests of `storage`.
    Storage,
    /// Unit tests of `server`.
    Server,
    /// `tests/tests/cluster`.
    Cluster,
    /// `tests/tests/fault.rs`.
    Fault,
    /// `cargo sim`; the test is its arguments.
    Sim,
    /// `cargo chaos`; the test is its arguments.
    Chaos,
}

/// One test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Catcher {
    pub(crate) suite: Suite,
    pub(crate) test: &'static str,
}

impl Suite {
    pub(crate) const ALL: [Suite; 6] =
        [Suite::Storage, Suite::Server, Suite::Cluster, Suite::Fault, Suite::Sim, Suite::Chaos];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Suite::Storage => "storage",
            Suite::Server => "server",
            Suite::Cluster => "cluster",
            Suite::Fault => "fault",
            Suite::Sim => "sim",
            Suite::Chaos => "chaos",
        }
    }
}

impl fmt::Display for Catcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} `{}`", self.suite.name(), self.test)
    }
}

fn storage(test: &'static str) -> Catcher {
    Catcher { suite: Suite::Storage, test }
}

fn server(test: &'static str) -> Catcher {
    Catcher { suite: Suite::Server, test }
}

fn cluster(test: &'static str) -> Catcher {
    Catcher { suite: Suite::Cluster, test }
}

const HISTORIES: Catcher =
    Catcher { suite: Suite::Fault, test: "histories_are_linearizable_through_kills_and_pauses" };
const ROUNDS: Catcher = Catcher { suite: Suite::Fault, test: "rounds_of_faults_with_a_small_log" };
const SIM: Catcher =
    Catcher { suite: Suite::Sim, test: "--seeds 1..41 --seconds 60 --threads 2 --until-violated" };
const POWER: Catcher = Catcher {
    suite: Suite::Chaos,
    test: "kills --seed 1 --minutes 1 --single 0 --all 0 --power-single 4 --power-all 4",
};
const CHAOS: Catcher = Catcher { suite: Suite::Chaos, test: "--shallow --seed 1 --minutes 0.7" };
const DEEP: Catcher = Catcher { suite: Suite::Chaos, test: "--seed 1 --minutes 1" };

/// The tests that a mutant is tried on.
pub(crate) fn catchers(mutant: Mutant) -> Vec<Catcher> {
    match mutant {
        Mutant::NoFsync => vec![
            storage(
                "log::tests::crash::power_may_fail_at_every_event_and_unsynced_writes_arrive_in_part",
            ),
            POWER,
            SIM,
        ],
        Mutant::AckBeforeFsync => vec![
            storage(
                "log::tests::crash::power_may_fail_at_every_event_and_unsynced_writes_arrive_in_part",
            ),
            POWER,
            SIM,
        ],
        Mutant::FsyncErrorsIgnored => vec![
            storage(
                "log::tests::failure::after_the_first_failure_nothing_is_acknowledged_and_nothing_retried",
            ),
            DEEP,
            SIM,
        ],
        Mutant::AckBeforeQuorum => vec![
            cluster("reads::a_leader_alone_serves_no_reads_and_acknowledges_no_writes"),
            ROUNDS,
            CHAOS,
            SIM,
        ],
        Mutant::VoteNotPersisted => vec![
            storage("log::tests::basic::everything_is_there_after_reopening_a_real_directory"),
            storage("log::tests::crash::a_vote_is_never_older_than_an_entry_that_followed_it"),
            cluster("durability::a_node_remembers_the_term_it_voted_in"),
            SIM,
        ],
        Mutant::TruncationNotPersisted => vec![
            storage("log::tests::basic::a_conflicting_suffix_is_replaced_at_once_and_for_good"),
            storage("log::tests::model::the_log_does_what_the_model_does"),
            ROUNDS,
            SIM,
        ],
        Mutant::ApplyBeforeCommit => {
            vec![cluster("reads::what_no_majority_has_is_shown_by_nobody"), HISTORIES, CHAOS, SIM]
        }
        Mutant::ReplayedTwice => vec![
            server("raft::applier::tests::openrafts_storage_suite_passes"),
            cluster("durability::one_node_keeps_its_writes_through_kill_9_and_sigterm"),
        ],
        Mutant::ReadsWithoutBarrier => vec![
            cluster("reads::followers_see_what_the_leader_has_just_acknowledged"),
            cluster("reads::a_leader_alone_serves_no_reads_and_acknowledges_no_writes"),
            HISTORIES,
            SIM,
        ],
        Mutant::UnconfirmedLeader => vec![
            cluster("reads::a_leader_alone_serves_no_reads_and_acknowledges_no_writes"),
            cluster("reads::a_paused_leader_never_answers_with_what_was"),
            HISTORIES,
            SIM,
        ],
        Mutant::VotesNotCompared => vec![
            server("raft::confirm::tests::only_the_leader_that_has_the_saved_vote_is_confirmed"),
            cluster("reads::a_paused_leader_never_answers_with_what_was"),
            HISTORIES,
            SIM,
        ],
        Mutant::ReadsBeforeApply => {
            vec![cluster("reads::a_follower_that_slept_answers_with_what_is"), HISTORIES, SIM]
        }
        Mutant::LeaderReadsBeforeApply => {
            let test = "raft::node::tests::a_certain_write_is_answered_before_it_is_applied_and_reads_wait_for_it";
            vec![server(test), HISTORIES, SIM]
        }
        Mutant::CertainWhenProposed => vec![
            cluster("reads::a_leader_alone_serves_no_reads_and_acknowledges_no_writes"),
            ROUNDS,
            SIM,
        ],
        Mutant::BarrierJoinedLate => vec![
            server("raft::barrier::tests::a_read_never_joins_a_round_that_began_before_it"),
            HISTORIES,
            SIM,
        ],
        Mutant::SnapshotWithoutMembership => {
            vec![cluster("snapshots::a_node_that_was_away_comes_back_by_snapshot"), ROUNDS, SIM]
        }
        Mutant::TruncatedLogAccepted => vec![
            storage("log::tests::rot::every_damaged_byte_of_a_closed_log_is_found"),
            cluster("durability::a_log_damaged_in_the_middle_keeps_the_node_from_starting"),
        ],
        Mutant::SnapshotNotSynced => {
            vec![storage("disk::tests::install::power_may_fail_at_every_sync_of_an_installation")]
        }
        Mutant::CrcOff => vec![
            storage("log::format::tests::every_flipped_bit_is_found"),
            cluster("durability::a_log_damaged_in_the_middle_keeps_the_node_from_starting"),
            SIM,
        ],
        Mutant::WipedRejoin => {
            vec![cluster("membership::a_wiped_node_comes_back_as_another"), DEEP]
        }
        Mutant::StrangersAdmitted => {
            vec![cluster("membership::a_stray_cluster_at_a_members_address_is_refused")]
        }
        Mutant::LocalExpiry => {
            vec![cluster("reads::a_key_expires_by_an_entry_and_by_no_clock"), DEEP]
        }
        Mutant::TimeGoesBack => {
            vec![server("state_machine::apply::tests::time_never_goes_back"), DEEP, SIM]
        }
        Mutant::DeadlinesForgotten => vec![
            cluster("reads::a_key_that_expired_once_is_never_seen_again_on_any_node"),
            cluster("reads::deadlines_outlive_their_leader"),
            SIM,
        ],
        Mutant::HalfMulti => {
            vec![cluster("requests::multi_blocks_are_atomic_on_every_node"), CHAOS]
        }
        Mutant::WatchIgnored => vec![
            cluster("requests::watch_sees_changes_made_on_other_nodes"),
            cluster("requests::optimistic_increments_on_all_nodes_lose_nothing"),
        ],
        Mutant::SwappedReplies => vec![cluster("requests::replies_never_cross_clients"), CHAOS],
        Mutant::ForwardedTwice => vec![
            cluster("durability::forwarded_writes_survive_kill_9_of_the_leader_and_happen_once"),
            ROUNDS,
            HISTORIES,
            CHAOS,
            SIM,
        ],
    }
}
