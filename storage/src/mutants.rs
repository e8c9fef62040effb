//! Known bugs that a test build can be told to have, to see whether the tests notice.
//!
//! A mutant is one line of the product that asks [`on`] and then does the wrong thing. Without the
//! cargo feature `mutants`, which nothing turns on but `cargo mutants-bite`, `on` is a constant
//! `false`: the compiler removes the line, and the variable [`VARIABLE`] is as unknown as any other.
//! With the feature, the variable names the one mutant of a process; without it, the process is sound.
//!
//! To add one: a variant and its row here, its line in the product, its catchers in
//! `tests/src/bin/mutants/table.rs`.

/// The environment variable that names the mutant of a process.
pub const VARIABLE: &str = "KVORUM_MUTANT";

macro_rules! mutants {
    ($($variant:ident $name:literal $what:literal)*) => {
        /// A known bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $what] $variant,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$variant),*];

            /// What the variable calls it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Mutant::$variant => $name,)*
                }
            }

            /// What is wrong with it, in one sentence.
            pub fn what(self) -> &'static str {
                match self {
                    $(Mutant::$variant => $what,)*
                }
            }
        }
    };
}

mutants! {
    NoFsync "no-fsync"
        "The log is written and never synced."
    AckBeforeFsync "ack-before-fsync"
        "Records of the log are reported as durable before the sync."
    FsyncErrorsIgnored "fsync-errors-ignored"
        "The log goes on after a failed sync."
    AckBeforeQuorum "ack-before-quorum"
        "The leader counts entries as stored by a peer when they are sent."
    VoteNotPersisted "vote-not-persisted"
        "Votes are kept in memory alone."
    TruncationNotPersisted "truncation-not-persisted"
        "A suffix that a new leader replaced is back after a restart."
    ApplyBeforeCommit "apply-before-commit"
        "A follower applies entries when they arrive."
    ReplayedTwice "replayed-twice"
        "The state does not know which entries it holds, and gets them again after a restart."
    ReadsWithoutBarrier "reads-without-barrier"
        "Reads are answered from what is applied here."
    UnconfirmedLeader "unconfirmed-leader"
        "A leader gives read indexes without asking whether it still leads."
    VotesNotCompared "votes-not-compared"
        "A voter confirms every leader that asks whether its vote is still for it."
    ReadsBeforeApply "reads-before-apply"
        "A follower asks for a read index and does not wait until it is applied."
    LeaderReadsBeforeApply "leader-reads-before-apply"
        "A leader's read does not wait until what is committed is applied."
    CertainWhenProposed "certain-when-proposed"
        "Writes whose reply is certain are answered when they are proposed."
    BarrierJoinedLate "barrier-joined-late"
        "A read takes the answer of a round that began before it arrived."
    SnapshotWithoutMembership "snapshot-without-membership"
        "A snapshot does not say who the members are."
    TruncatedLogAccepted "truncated-log-accepted"
        "Damage to what was synced is taken for a torn end of the log."
    SnapshotNotSynced "snapshot-not-synced"
        "What says which snapshot is installed is never synced."
    CrcOff "crc-off"
        "Checksums of the log's records are not compared."
    WipedRejoin "wiped-rejoin"
        "A node without its disk takes its old id, and votes."
    StrangersAdmitted "strangers-admitted"
        "Nodes of another cluster are listened to."
    LocalExpiry "local-expiry"
        "Readers judge deadlines by the clock of their node."
    TimeGoesBack "time-goes-back"
        "The time of the state follows the leader's clock backwards."
    DeadlinesForgotten "deadlines-forgotten"
        "No time mark is committed when a deadline is due."
    HalfMulti "half-multi"
        "Nodes whose client does not wait apply half of a MULTI block."
    WatchIgnored "watch-ignored"
        "EXEC does not compare what was watched."
    SwappedReplies "swapped-replies"
        "Replies to a forwarded group come in reverse order."
    ForwardedTwice "forwarded-twice"
        "A forwarded write whose answer was lost is sent again."
}

/// Whether this process is that mutant.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn on(_mutant: Mutant) -> bool {
    false
}

/// Whether this process is that mutant.
///
/// # Panics
/// The variable names none.
#[cfg(feature = "mutants")]
pub fn on(mutant: Mutant) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var(VARIABLE).ok()?;
        let found = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
        Some(*found.unwrap_or_else(|| panic!("{VARIABLE}: there is no mutant {name}")))
    });
    *chosen == Some(mutant)
}

/// What becomes of an error that only this mutant would go on after.
pub fn tolerate<E>(mutant: Mutant, error: E) -> Result<(), E> {
    if on(mutant) { Ok(()) } else { Err(error) }
}

/// Whether an environment variable is for this module, and no setting.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_for_mutants(_variable: &str) -> bool {
    false
}

/// Whether an environment variable is for this module, and no setting.
#[cfg(feature = "mutants")]
pub fn is_for_mutants(variable: &str) -> bool {
    variable == VARIABLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_distinct_and_this_process_is_what_the_variable_says() {
        let names: BTreeSet<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::ALL.len());
        let named = std::env::var(VARIABLE).ok().filter(|_| cfg!(feature = "mutants"));
        let is_on: Vec<&str> =
            Mutant::ALL.iter().filter(|one| on(**one)).map(|one| one.name()).collect();
        assert_eq!(is_on, named.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
