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

/// Leases that ended before their time; only where no clock was disturbed.
pub fn early(leases: &[Lease], looks: &[Look]) -> Vec<String> {
    let by_key: BTreeMap<&str, &Lease> =
        leases.iter().map(|lease| (lease.key.as_str(), lease)).collect();
    let is_early = |look: &&Look| {
        let Some(lease) = by_key.get(look.key.as_str()) else { return false };
        let set = lease.span.returned.is_some_and(|set| look.span.invoked > set);
        let ends = lease.span.invoked + (lease.ttl_ms - 1) * 1_000_000;
        !look.is_there && set && look.span.returned.is_some_and(|returned| returned < ends)
    };
    looks.iter().filter(is_early).map(|look| format!("gone too early: {look:?}")).collect()
}

/// What the node behind `client` lacks of what was acknowledged, or counts wrongly.
///
/// # Errors
/// It does not answer.
pub fn ledger(history: &History, client: &mut Client) -> io::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for keys in history.ledger.chunks(500) {
        let requests: Vec<[&str; 2]> = keys.iter().map(|(key, _)| ["GET", key.as_str()]).collect();
        client.send(&requests.iter().map(|request| request.to_vec()).collect::<Vec<_>>())?;
        for (key, is_acked) in keys {
            let found = client.receive()?;
            let absent = !is_acked && found == Reply::Null;
            if !absent && text(&found) != *key {
                wrong.push(format!("{key} (acknowledged: {is_acked}) holds {found:?}"));
            }
        }
    }
    for (counter, (acked, unknown)) in &history.counters {
        let found = text(&client.call(&["GET", counter])?);
        let count = if found == "nil" { Ok(0) } else { found.parse::<u64>() };
        if !count.is_ok_and(|count| (*acked..=acked + unknown).contains(&count)) {
            wrong.push(format!("{counter} is {found}; {acked} acknowledged, {unknown} unknown"));
        }
    }
    Ok(wrong)
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
    let mut wrong = Vec::new();
    for keys in history.buried.chunks(500) {
        let requests: Vec<Vec<&str>> = keys.iter().map(|key| vec!["EXISTS", key]).collect();
        client.send(&requests)?;
        for key in keys {
            let found = client.receive()?;
            if found != Reply::Integer(0) {
                wrong.push(format!("{key} was removed, and is back: {found:?}"));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(invoked: u64, returned: u64) -> Span {
        Span { invoked, returned: Some(returned) }
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
        assert!(leases(&lease, &good).is_empty() && early(&lease, &good).is_empty());
        let back = [look(20, true), look(2 * second, false), look(3 * second, true)];
        assert_eq!(leases(&lease, &back).len(), 1);
        assert_eq!(early(&lease, &[look(20, false)]).len(), 1);
    }
}
