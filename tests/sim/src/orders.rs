//! Orders of administrators, given while things go wrong: members, transfers, snapshots.
//!
//! An order is given to one running node and goes on beside everything else; what became of it is
//! an event.

use crate::cluster::{Cluster, Incarnation};
use crate::dice::Dice;
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::sync::atomic::Ordering;

/// Orders that are carried out at the same time, at most.
const ORDERS_MAX: u64 = 3;
/// Nodes of a run, at most, and voters that are left, at least.
const NODES_MAX: usize = 7;
const VOTERS_MIN: usize = 2;

fn give<F>(
    cluster: &Cluster,
    node: Incarnation,
    done: &'static str,
    failed: &'static str,
    order: impl FnOnce(Incarnation) -> F,
    then: impl FnOnce(&Cluster) + Send + 'static,
) where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (cluster, dead) = (cluster.clone(), node.dead.clone());
    cluster.orders.fetch_add(1, Ordering::Relaxed);
    let order = order(node);
    tokio::spawn(async move {
        let outcome = tokio::select! {
            biased;
            () = dead.cancelled() => Err("the node died".to_owned()),
            outcome = order => outcome,
        };
        match outcome {
            Ok(()) => {
                cluster.trace.note(done, "");
                then(&cluster);
            }
            Err(why) => cluster.trace.note(failed, why),
        }
        cluster.orders.fetch_sub(1, Ordering::Relaxed);
    });
}

fn asked(cluster: &Cluster, dice: &Dice) -> Option<Incarnation> {
    if cluster.orders.load(Ordering::Relaxed) >= ORDERS_MAX {
        return None;
    }
    let running: Vec<u64> = cluster.running().into_keys().collect();
    if running.is_empty() { None } else { cluster.get(dice.pick(&running)) }
}

/// Adds a new node, or lets one go.
///
/// # Errors
/// The new node does not start.
pub async fn change_members(cluster: &Cluster, dice: &Dice) -> io::Result<()> {
    let Some(node) = asked(cluster, dice) else { return Ok(()) };
    let voters: BTreeSet<u64> = node.replica.members().0.into_iter().flatten().collect();
    let voters: Vec<u64> = voters.into_iter().collect();
    let removes = voters.len() > VOTERS_MIN && dice.chance(500);
    if removes || cluster.ids().len() >= NODES_MAX {
        if voters.len() <= VOTERS_MIN {
            return Ok(());
        }
        let (id, stays) = (dice.pick(&voters), dice.chance(300));
        let retire = move |cluster: &Cluster| {
            // One that stays learns that it was let go, and must not harm anybody.
            if !stays {
                cluster.retire(id);
            }
        };
        let order = async move |node: Incarnation| node.replica.remove(id).await;
        give(cluster, node, "node let go", "node not let go", order, retire);
        return Ok(());
    }
    let id = cluster.new_node(false);
    cluster.start(id).await?;
    let order = async move |node: Incarnation| node.replica.add(id).await;
    give(cluster, node, "node added", "node not added", order, |_| ());
    Ok(())
}

/// Hands leadership over.
pub fn transfer(cluster: &Cluster, dice: &Dice) {
    let Some(node) = asked(cluster, dice) else { return };
    let to = Some(dice.pick(&cluster.ids())).filter(|_| dice.chance(500));
    let at = cluster.clone();
    let order = async move |node: Incarnation| {
        let leader = || at.leader().map(|(id, _)| id);
        let before = leader();
        node.replica.transfer(to).await?;
        match before == leader() {
            true => Err("who leads led before".to_owned()),
            false => Ok(()),
        }
    };
    give(cluster, node, "leadership handed over", "leadership not handed over", order, |_| ());
}

/// Makes the state of a node durable and purges its log.
pub fn snapshot(cluster: &Cluster, dice: &Dice) {
    let Some(node) = asked(cluster, dice) else { return };
    let halves = dice.between(1, 6);
    let trace = cluster.trace.clone();
    let order = async move |node: Incarnation| {
        let first = || node.log.shard(0).first_index();
        let before = first();
        node.replica.snapshot(halves).await?;
        if first() > before {
            trace.note("log purged", "");
        }
        Ok(())
    };
    give(cluster, node, "snapshot made", "snapshot not made", order, |_| ());
}
