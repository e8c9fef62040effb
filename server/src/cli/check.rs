//! `kvorum check`: verifies the data directory of a stopped node.
//!
//! Looks at every byte of the log and every row of the state, then at whether they belong
//! together. Log indexes are numbered as INFO does, from 1. It repairs nothing and changes none of
//! the node's own files. Exit code 0: sound; 1: damaged; 2: it could not be checked (a process
//! has it open, it cannot be read, it is no data directory, or of another version).

mod agreement;
mod report;

use super::serve::STATE_DIR;
use crate::raft::applier::load;
use crate::raft::identity::IdentityState;
use crate::raft::types::StoredMembership;
use crate::state_machine::AppliedState;
use agreement::{LogEnds, StateEnd};
use clap::Args;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use storage::StorageError;
use storage::disk::StoredState;
use storage::log::{self, LogError, VerifyReport};
use storage::txn::ReadTxn;
use storage::verify::{StateReport, verify_state};

/// The shard of a node's one Raft group.
const SHARD: u16 = 0;

const EXIT_DAMAGED: u8 = 1;
const EXIT_UNCHECKED: u8 = 2;

/// Verify the data of a stopped node: its log, its state, and their agreement. Changes nothing.
///
/// Exit code 0: sound; 1: damaged; 2: it could not be checked, for instance because the node runs.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// The node's data directory.
    #[arg(value_name = "DATA-DIR")]
    data_dir: PathBuf,
}

/// Why a part gave no report.
#[derive(Debug)]
enum Failure {
    /// It is there and wrong.
    Damaged(String),
    /// It could not be looked at.
    Unchecked(String),
}

/// What a data directory holds.
struct Contents {
    identity: Option<IdentityState>,
    log: VerifyReport,
    state: Option<State>,
}

/// What a state holds.
struct State {
    applied: AppliedState,
    durable_index: u64,
    membership: StoredMembership,
    rows: StateReport,
}

/// Checks and reports.
pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    let dir = &args.data_dir;
    match read(dir) {
        Ok(contents) => {
            let problems = problems(&contents);
            report::print(dir, &contents, &problems);
            if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGED) }
        }
        Err(Failure::Damaged(why)) => {
            report::print_damaged(dir, &why);
            ExitCode::from(EXIT_DAMAGED)
        }
        Err(Failure::Unchecked(why)) => {
            crate::cli::serve::fail(&format!("check: {why}"));
            ExitCode::from(EXIT_UNCHECKED)
        }
    }
}

fn read(dir: &Path) -> Result<Contents, Failure> {
    let (log_dir, state_dir) = (dir.join("log"), dir.join(STATE_DIR));
    if !log_dir.is_dir() && !state_dir.is_dir() {
        return Err(Failure::Unchecked(format!("{} holds no data of a node", dir.display())));
    }
    if !log_dir.is_dir() {
        return Err(Failure::Damaged("there is a state and no log".to_owned()));
    }
    // The log comes first: its lock tells whether the node runs.
    let log = log::verify(&log_dir).map_err(of_log)?;
    let identity = IdentityState::read(dir).map_err(of_file)?;
    let state = guarded(|| StoredState::open(&state_dir))?;
    let state = state.map(|stored| guarded(|| read_state(&stored))).transpose()?;
    Ok(Contents { identity, log, state })
}

fn read_state(stored: &StoredState) -> Result<State, StorageError> {
    let (applied, membership) = load(stored, SHARD)?;
    let rows = verify_state(stored, SHARD, protocol::key_slot)?;
    Ok(State { applied, durable_index: stored.log_index(), membership, rows })
}

/// The store below answers some kinds of damage with a panic.
fn guarded<T>(work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(of_state),
        Err(_) => Err(Failure::Damaged("the tables of the state are unreadable".to_owned())),
    }
}

fn of_log(error: LogError) -> Failure {
    let text = error.to_string();
    match error {
        LogError::Corrupt { .. } => Failure::Damaged(text),
        LogError::Io { .. }
        | LogError::Locked(_)
        | LogError::Version { .. }
        | LogError::Options(_) => Failure::Unchecked(text),
    }
}

fn of_state(error: StorageError) -> Failure {
    let text = error.to_string();
    match error {
        StorageError::Io(_) | StorageError::NoRoom(_) => Failure::Unchecked(text),
        StorageError::Lsm(_) | StorageError::Corrupt(_) | StorageError::Snapshot(_) => {
            Failure::Damaged(text)
        }
    }
}

fn of_file(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData => Failure::Damaged(error.to_string()),
        _ => Failure::Unchecked(error.to_string()),
    }
}

/// Everything that is wrong with contents that could be read.
fn problems(contents: &Contents) -> Vec<String> {
    let shard = contents.log.shards.get(&u32::from(SHARD));
    let log = shard.map(LogEnds::of).unwrap_or_default();
    let state = contents.state.as_ref();
    let end = state.map_or_else(StateEnd::default, |state| StateEnd {
        term: state.applied.term,
        index: state.applied.log_index,
        durable_index: state.durable_index,
        membership_index: state.membership.log_id().as_ref().map_or(0, |id| id.index + 1),
    });
    let mut found = agreement::problems(&log, &end);
    let others = contents.log.shards.keys().filter(|shard| **shard != u32::from(SHARD));
    found.extend(others.map(|shard| format!("the log has records of shard {shard}")));
    match contents.identity {
        None if shard.is_some_and(|shard| shard.vote.is_some() || shard.last.is_some()) => {
            found.push("the node has a log and no identity".to_owned());
        }
        Some(identity) if identity.log_id != contents.log.log_id => {
            found.push("the log is not the one that this node voted in".to_owned());
        }
        Some(identity) if identity.cluster_id == 0 && end.membership_index > 0 => {
            found.push("the state has members, the identity no cluster".to_owned());
        }
        _ => {}
    }
    if let Some(State { rows, .. }) = state {
        found.extend(rows.problems.iter().cloned());
        let hidden = rows.problem_count - rows.problems.len() as u64;
        if hidden > 0 {
            found.push(format!("and {hidden} more problems of the state"));
        }
    }
    found
}

#[cfg(test)]
mod tests;
