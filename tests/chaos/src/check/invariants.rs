//! What must hold whatever the order: money is neither made nor lost, a key that expired stays
//! away, what was acknowledged is there, counters are within their bounds.

use crate::journal::{History, Lease, Look, Span};
use crate::workload::{ACCOUNTS, DEPOSIT};
use kvorum_tests::client::{Client, text};
use protocol::Reply;
use std::collections::{BTreeMap, HashMap};
use std::io;

/// Looks at the bank whose sum is not what was deposited.
pub fn sums(sums: &[(Span, Vec<i64>)]) -> Vec<String> {
    let deposited = ACCOUNTS as i64 * DEPOSIT;
    let wrong = sums.iter().filter(|(_, amounts)| amounts.iter().sum::<i64>() != deposited);
    wrong
        .map(|(span, amounts)| format!("the bank has not {deposited}: {amounts:?} {span:?}"))
        .collect()
}

/// Keys that were gone and came back, or that were there before they were set.
pub fn leases(leases: &[Lease], looks: &[Look]) -> Vec<String> {
    let mut of: HashMap<&str, Vec<&Look>> = HashMap::new();
    for look in looks {
        of.entry(&look.key).or_default().push(look);
    }
    let mut wrong = Vec::new();
    for lease in leases {
        let looks = of.get(lease.key.as_str()).map_or(&[][..], Vec::as_slice);
        // Gone for certain: somebody saw it, or was told that it is set, and later found it absent.
        let known_since = looks
            .iter()
            .filter(|look| look.is_there)
            .filter_map(|look| look.span.returned)
            .chain(lease.span.returned)
            .min();
        let Some(known_since) = known_since else { continue };
        let gone = looks
            .iter()
            .filter(|look| !look.is_there && look.span.invoked > known_since)
            .filter_map(|look| look.span.returned)
            .min();
        let Some(gone) = gone else { continue };
        let back = looks.iter().find(|look| look.is_there && look.span.invoked > gone);
        if let Some(back) = back {
            wrong.push(format!("gone at {gone}, and back: {back:?}"));
        }
    }
    wrong
}

/// Leases that ended before their time. Nothing is said of those whose clock was `disturbed` (between
/// these moments) after they were set and before they were looked at.
///
/// A lease that was set later cannot suffer: a time that a clock ran ahead to only ends leases later.
/// Machines of the harness and of the nodes may count a thousandth of the time differently.
pub fn early(leases: &[Lease], looks: &[Look], disturbed: &[(u64, u64)]) -> Vec<String> {
    let by_key: BTreeMap<&str, &Lease> =
        leases.iter().map(|lease| (lease.key.as_str(), lease)).collect();
    let is_early = |look: &&Look| {
        let Some(lease) = by_key.get(look.key.as_str()) else { return false };
        let (Some(set), Some(seen)) = (lease.span.returned, look.span.returned) else {
            return false;
        };
        let ends = lease.span.invoked + (lease.ttl_ms - 1) * 999_000;
        let is_excused =
            disturbed.iter().any(|(begun, ended)| lease.span.invoked <= *ended && seen >= *begun);
        !look.is_there && look.span.invoked > set && seen < ends && !is_excused
    };
    looks.iter().filter(is_early).map(|look| format!("gone too early: {look:?}")).collect()
}

/// What the node behind `client` lacks of what was acknowledged, or counts wrongly.
///
/// # Errors
/// It does not answer.
pub fn ledger(history: &History, client: &mut Client) -> io::Result<Vec<String>> {
    let keys = history.ledger.iter().map(|(key, _)| key.as_str());
    let held = ask(client, "GET", keys)?;
    let counts = ask(client, "GET", history.counters.keys().map(String::as_str))?;
    let mut wrong = not_held(&history.ledger, &held);
    wrong.extend(miscounted(&history.counters, &counts));
    Ok(wrong)
}

/// Keys of the ledger that hold something else than they must.
fn not_held(ledger: &[(String, bool)], held: &[Reply]) -> Vec<String> {
    assert_eq!(ledger.len(), held.len(), "a reply for each");
    let is_wrong = |((key, is_acked), found): &(&(String, bool), &Reply)| {
        let absent = !is_acked && **found == Reply::Null;
        !absent && !matches!(found, Reply::Bulk(value) if *value == key.as_bytes())
    };
    let wrong = ledger.iter().zip(held).filter(is_wrong);
    wrong
        .map(|((key, is_acked), found)| format!("{key} (acknowledged: {is_acked}) holds {found:?}"))
        .collect()
}

/// Counters below what was acknowledged, or above that and all of unknown outcome.
fn miscounted(counters: &BTreeMap<String, (u64, u64)>, counts: &[Reply]) -> Vec<String> {
    assert_eq!(counters.len(), counts.len(), "a reply for each");
    let mut wrong = Vec::new();
    for ((counter, (acked, unknown)), found) in counters.iter().zip(counts) {
        let count = match found {
            Reply::Null => Some(0),
            Reply::Bulk(_) => text(found).parse::<u64>().ok(),
            _ => None,
        };
        if !count.is_some_and(|count| (*acked..=acked + unknown).contains(&count)) {
            wrong.push(format!("{counter} is {found:?}; {acked} acknowledged, {unknown} unknown"));
        }
    }
    wrong
}

/// The replies to one command on each of these keys.
fn ask<'a>(
    client: &mut Client,
    command: &'a str,
    keys: impl Iterator<Item = &'a str>,
) -> io::Result<Vec<Reply>> {
    let requests: Vec<Vec<&str>> = keys.map(|key| vec![command, key]).collect();
    let mut replies = Vec::new();
    for requests in requests.chunks(500) {
        client.send(requests)?;
        for _ in requests {
            replies.push(client.receive()?);
        }
    }
    Ok(replies)
}

/// Removes the acknowledged keys of the ledger; from now on they have to stay away.
///
/// # Errors
/// The node behind `client` does not answer, or lacks a key; what was not asked stays in the ledger.
pub fn bury(history: &mut History, client: &mut Client) -> io::Result<()> {
    let (acked, mut rest): (Vec<_>, Vec<_>) =
        std::mem::take(&mut history.ledger).into_iter().partition(|(_, is_acked)| *is_acked);
    let mut outcome = Ok(());
    for keys in acked.chunks(500) {
        if outcome.is_err() {
            rest.extend_from_slice(keys);
            continue;
        }
        let requests: Vec<Vec<&str>> = keys.iter().map(|(key, _)| vec!["DEL", key]).collect();
        outcome = client.send(&requests);
        for (key, _) in keys {
            match client.receive() {
                Ok(Reply::Integer(1)) => history.buried.push(key.clone()),
                Ok(Reply::Integer(_)) => {
                    outcome = Err(io::Error::other(format!("{key} was acknowledged and is gone")));
                }
                // A connection that is gone or an error: nobody knows.
                _ => history.forgotten += 1,
            }
        }
    }
    history.ledger = rest;
    outcome
}

/// Removed keys that the node behind `client` still or again has.
///
/// # Errors
/// It does not answer.
pub fn buried(history: &History, client: &mut Client) -> io::Result<Vec<String>> {
    let found = ask(client, "EXISTS", history.buried.iter().map(String::as_str))?;
    Ok(risen(&history.buried, &found))
}

fn risen(buried: &[String], found: &[Reply]) -> Vec<String> {
    assert_eq!(buried.len(), found.len(), "a reply for each");
    let back = buried.iter().zip(found).filter(|(_, found)| **found != Reply::Integer(0));
    back.map(|(key, found)| format!("{key} was removed, and is back: {found:?}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(invoked: u64, returned: u64) -> Span {
        Span { invoked, returned: Some(returned), index: None }
    }

    #[test]
    fn money_is_neither_made_nor_lost() {
        let mut amounts = vec![DEPOSIT; ACCOUNTS];
        amounts[0] -= 7;
        amounts[1] += 7;
        assert!(sums(&[(span(0, 1), amounts.clone())]).is_empty());
        amounts[1] -= 1;
        assert_eq!(sums(&[(span(0, 1), amounts)]).len(), 1);
    }

    #[test]
    fn a_lease_ends_once_and_not_before_its_time() {
        let second = 1_000_000_000;
        let lease = [Lease { span: span(0, 10), key: "k".to_owned(), ttl_ms: 1000 }];
        let look = |invoked: u64, is_there: bool| Look {
            span: span(invoked, invoked + 1),
            key: "k".to_owned(),
            is_there,
        };
        let good =
            [look(5, false), look(20, true), look(2 * second, false), look(3 * second, false)];
        assert!(leases(&lease, &good).is_empty() && early(&lease, &good, &[]).is_empty());
        let back = [look(20, true), look(2 * second, false), look(3 * second, true)];
        assert_eq!(leases(&lease, &back).len(), 1);
        assert_eq!(early(&lease, &[look(20, false)], &[]).len(), 1);
        assert_eq!(early(&lease, &[look(950_000_000, false)], &[]).len(), 1);
        let unset = [Lease { span: Span { returned: None, ..lease[0].span }, ..lease[0].clone() }];
        assert!(early(&unset, &[look(20, false)], &[]).is_empty(), "it may never have been set");
        // A clock fault before it was set or after it was seen excuses nothing.
        let later = [Lease { span: span(100, 110), ..lease[0].clone() }];
        assert_eq!(early(&later, &[look(120, false)], &[(0, 99), (122, 200)]).len(), 1);
        for disturbed in [(0, 100), (115, 116), (121, 200), (0, 200)] {
            assert!(early(&later, &[look(120, false)], &[disturbed]).is_empty(), "{disturbed:?}");
        }
    }

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.to_owned().into())
    }

    #[test]
    fn what_was_acknowledged_is_held_and_what_was_not_may_be() {
        let key = |name: &str, is_acked| (name.to_owned(), is_acked);
        let ledger = [key("a", true), key("b", true), key("c", false), key("d", false)];
        let held = |replies: [Reply; 4]| not_held(&ledger, &replies).len();
        assert_eq!(held([bulk("a"), bulk("b"), Reply::Null, bulk("d")]), 0);
        assert_eq!(held([bulk("a"), Reply::Null, Reply::Null, bulk("d")]), 1, "lost");
        assert_eq!(held([bulk("b"), bulk("b"), Reply::Null, bulk("d")]), 1, "another's value");
        assert_eq!(held([bulk("a"), bulk("b"), bulk("x"), bulk("d")]), 1, "nobody wrote that");
        let error = || Reply::Error("ERR c".into());
        assert_eq!(held([error(), bulk("b"), error(), bulk("d")]), 2, "no answer is none");
    }

    #[test]
    fn counters_are_within_what_was_acknowledged_and_what_is_unknown() {
        let counters = BTreeMap::from([("c".to_owned(), (5, 2))]);
        let wrong = |found: Reply| miscounted(&counters, &[found]).len();
        for count in ["5", "6", "7"] {
            assert_eq!(wrong(bulk(count)), 0, "{count}");
        }
        for count in ["4", "8", "0", "-5", "many"] {
            assert_eq!(wrong(bulk(count)), 1, "{count}");
        }
        assert_eq!(wrong(Reply::Null), 1, "gone");
        assert_eq!(wrong(Reply::Error("CLUSTERDOWN".into())), 1);
        let unsure = BTreeMap::from([("c".to_owned(), (0, 3))]);
        assert!(miscounted(&unsure, &[Reply::Null]).is_empty());
    }

    #[test]
    fn what_was_removed_stays_away() {
        let buried = ["a".to_owned(), "b".to_owned()];
        assert!(risen(&buried, &[Reply::Integer(0), Reply::Integer(0)]).is_empty());
        assert_eq!(risen(&buried, &[Reply::Integer(0), Reply::Integer(1)]).len(), 1);
        assert_eq!(risen(&buried, &[Reply::Error("ERR".into()), Reply::Integer(1)]).len(), 2);
    }
}
