//! Restarts of a filled node, timed from starting the process to the first right answer.

use super::{Kind, Options, plan_of, seconds_since};
use crate::control;
use crate::error::Failure;
use crate::load;
use crate::peers::in_thread;
use crate::process::Watch;
use crate::target::Running;
use redis_protocol::resp2::types::OwnedFrame;
use std::time::{Duration, Instant};

/// Longest that a clean stop may take.
pub(super) const STOP_MAX: Duration = Duration::from_secs(120);
/// Longest that is waited for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// Pause between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(2);
/// How long before the end of the load the node is killed: no round begins after that.
const KILL_BEFORE_END: Duration = Duration::from_millis(200);
/// A key that no load writes, and its value.
const WITNESS: &[u8] = b"witness of restarts";
const TESTIMONY: &[u8] = b"written before all of them";

/// Writes the key that is asked for behind each restart.
///
/// Errors: the node does not take it.
pub(super) async fn write_witness(running: &Running) -> Result<(), Failure> {
    let address = running.addresses().remove(0);
    control::ask(&address, None, &[b"SET", WITNESS, TESTIMONY]).await?;
    Ok(())
}

/// Starts the node again and asks until it answers right; says how long that took, in seconds.
///
/// Errors: it cannot be started, ends, answers wrongly, or not in [`ANSWER_MAX`].
pub(super) async fn start(running: &mut Running) -> Result<f64, Failure> {
    let address = running.addresses().remove(0);
    let began = Instant::now();
    running.restart(0)?;
    while began.elapsed() < ANSWER_MAX {
        running.check(0)?;
        // What is no answer yet: no listener, or an error that says that the node is starting.
        match control::ask(&address, None, &[b"GET", WITNESS]).await {
            Ok(OwnedFrame::BulkString(value)) if value == TESTIMONY => {
                let seconds = seconds_since(began);
                eprintln!("answered after {seconds:.2} s");
                return Ok(seconds);
            }
            Ok(other) => return Err(Failure::new(format!("a wrong value at last: {other:?}"))),
            Err(_) => tokio::time::sleep(ASK_PAUSE).await,
        }
    }
    Err(Failure::new(format!("the node does not answer within {ANSWER_MAX:?}")))
}

/// Loads the node with SETs of random keys and ends it by `kill -9` while they are in flight.
///
/// Errors: it cannot be loaded.
pub(super) async fn kill_under_load(
    options: &Options,
    running: &mut Running,
    round: usize,
) -> Result<(), Failure> {
    let plan = plan_of(options, running, Kind::SetRandom, 100 + round as u64).await?;
    let until_kill = (plan.warmup + plan.duration).saturating_sub(KILL_BEFORE_END);
    let loading = in_thread(move || load::run(&plan, &Watch::default()));
    let killing = async {
        tokio::time::sleep(until_kill).await;
        running.kill(0)
    };
    let (killed, loaded) = futures_util::future::join(killing, loading).await;
    killed?;
    let outcome = loaded??;
    if outcome.tally.operations() == 0 {
        return Err(Failure::new("nothing was written before the kill"));
    }
    Ok(())
}
