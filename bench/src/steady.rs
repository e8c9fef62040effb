//! What a run at a steady rate begins with: servers at rest, and a rate that they can take.

use crate::error::Failure;
use crate::load;
use crate::peers::{in_thread, plan};
use crate::point::Case;
use crate::process::{Disk, Watch};
use crate::target::{Leader, Peer};
use std::time::Duration;

/// Warm-up of the run that finds the maximum.
const WARMUP: Duration = Duration::from_secs(3);
/// How long the disk must be still, and how long that may take.
const STILL: Duration = Duration::from_secs(3);
const REST_MAX: Duration = Duration::from_secs(60);

/// Waits until flushes and compactions have come to rest. Says, and prints, when they have not: after
/// a minute, or where the disk tells nothing, after some seconds.
pub(crate) async fn rest(disk: Option<Disk>) -> bool {
    let rested = match disk {
        Some(disk) => disk.rest(STILL, REST_MAX).await,
        None => {
            tokio::time::sleep(STILL).await;
            false
        }
    };
    if !rested {
        eprintln!("! the disk did not come to rest");
    }
    rested
}

/// The maximum of a closed loop of so long, if it was measured, and the rate of `case`: its own, or a
/// share of that maximum.
///
/// Errors: the peer cannot be loaded, or does next to nothing.
pub(crate) async fn find_rate(
    peer: Peer,
    leader: &Leader,
    case: Case,
    share: f64,
    maximum: Duration,
) -> Result<(Option<f64>, f64), Failure> {
    if let Some(rate) = case.point.rate {
        return Ok((None, f64::from(rate)));
    }
    let plan = plan(peer, leader, case, WARMUP, maximum);
    let outcome = in_thread(move || load::run(&plan, &Watch::default())).await??;
    let maximum = outcome.operations_per_second();
    eprintln!("maximum {maximum:.0}/s");
    let rate = maximum * share;
    if rate < 1.0 {
        return Err(Failure::new("the maximum is below one operation per second"));
    }
    Ok((Some(maximum), rate))
}
