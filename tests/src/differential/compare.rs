//! Whether two replies count as the same.

use super::departures::{How, how};
use crate::golden::wire::Element;
use kvorum::commands;

/// How replies to a request are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Full name of the command; empty where there is none.
    pub(super) name: String,
    pub(super) how: How,
}

impl Comparison {
    /// That of this request.
    pub(super) fn of(args: &[Vec<u8>]) -> Comparison {
        let Some(spec) = args.first().and_then(|name| commands::lookup(name)) else {
            return Comparison { name: String::new(), how: How::Exact };
        };
        let subcommand = args.get(1).and_then(|name| commands::lookup_subcommand(spec, name));
        let (name, found) = match subcommand {
            Some(subcommand) => (format!("{}|{}", spec.name, subcommand.name), subcommand),
            None => (spec.name.to_owned(), spec),
        };
        let how = how_to_compare(how(&name, found), args);
        Comparison { name, how }
    }

    /// What made these replies, which agree, count as the same; none: they are.
    pub(super) fn departure(&self, ours: &Element, theirs: &Element) -> Option<String> {
        if ours == theirs {
            None
        } else if is_error(ours) && as_text(ours) == as_text(theirs) {
            Some("errors that quote bytes that are no UTF-8".to_owned())
        } else if self.how == How::Exact {
            Some(format!("{} (order of a RESP3 set or map)", self.name))
        } else {
            Some(format!("{} ({:?})", self.name, self.how))
        }
    }
}

/// How replies to this request are compared, if those to its command are so.
fn how_to_compare(found: How, args: &[Vec<u8>]) -> How {
    let is_glob = |arg: &Vec<u8>| arg.iter().any(|byte| b"*?[\\".contains(byte));
    match found {
        // Of settings that a pattern finds each server has its own.
        How::AnyOrderOfPairs if args.iter().any(is_glob) => How::Type,
        How::Iteration if is_whole_iteration(args) => How::Iteration,
        How::Iteration => How::Type,
        // One rule at most, and none that the user's others may forbid.
        How::AnyWrongRule
            if args.len() <= 4 && !args.last().is_some_and(|rule| is_pattern(rule)) =>
        {
            How::Exact
        }
        other => other,
    }
}

/// SCAN from the beginning, with a COUNT beyond all keys that a script makes.
fn is_whole_iteration(args: &[Vec<u8>]) -> bool {
    let mut counts = args.windows(2).filter(|pair| pair[0].eq_ignore_ascii_case(b"count"));
    args.get(1).is_some_and(|cursor| cursor == b"0")
        && counts.next_back().is_some_and(|pair| pair[1] == b"1000")
}

/// Whether the replies to one request agree.
pub(super) fn agree(how: How, ours: &Element, theirs: &Element) -> bool {
    if ours == theirs {
        return true;
    }
    if is_error(ours) || is_error(theirs) {
        let same = as_text(ours) == as_text(theirs)
            || how == How::AnyWrongRule && names_a_rule(ours) && names_a_rule(theirs);
        return is_error(ours) && is_error(theirs) && same;
    }
    match how {
        How::Exact | How::UnlessAbsent | How::AnyWrongRule => in_order(ours) == in_order(theirs),
        How::UnlessCommandRule => {
            in_order(&without_command_rules(ours)) == in_order(&without_command_rules(theirs))
        }
        How::Type => kind(ours) == kind(theirs),
        How::AnyOrder => sorted(ours, 1) == sorted(theirs, 1),
        How::AnyOrderOfPairs => sorted(ours, 2) == sorted(theirs, 2),
        How::Within(most) => match (number(ours), number(theirs)) {
            (Some(a), Some(b)) => a >= 0 && b >= 0 && (a - b).abs() <= most,
            _ => false,
        },
        How::Iteration => match (ours, theirs) {
            (Element::Aggregate(_, ours), Element::Aggregate(_, theirs)) => {
                ours.len() == 2
                    && theirs.len() == 2
                    && ours[0] == theirs[0]
                    && sorted(&ours[1], 1) == sorted(&theirs[1], 1)
            }
            _ => false,
        },
        How::NotSent => true,
    }
}

pub(super) fn is_error(element: &Element) -> bool {
    matches!(element, Element::Line(line) if line.first() == Some(&b'-'))
}

/// An error as Kvorum prints it: see [`super::departures`].
fn as_text(error: &Element) -> String {
    String::from_utf8_lossy(&error.to_bytes()).into_owned()
}

/// Whether a rule of ACL SETUSER is, or may be meant as, a pattern of keys or channels.
fn is_pattern(rule: &[u8]) -> bool {
    rule.first().is_some_and(|mark| b"%~&(".contains(mark))
}

/// Whether an error is about a rule of ACL SETUSER.
fn names_a_rule(error: &Element) -> bool {
    as_text(error).starts_with("-ERR Error in ACL SETUSER modifier '")
}

/// Whether this says that there is nothing, as EXEC does when a watched key has changed.
pub(super) fn is_null(element: &Element) -> bool {
    matches!(element, Element::Line(line) if [&b"$-1"[..], b"*-1", b"_"].contains(&&line[..]))
}

/// The type, and whether there is anything at all.
fn kind(element: &Element) -> (u8, bool) {
    let (Element::Line(header) | Element::Bulk(header, _) | Element::Aggregate(header, _)) =
        element;
    (header[0], !is_null(element))
}

fn number(element: &Element) -> Option<i64> {
    let Element::Line(line) = element else { return None };
    std::str::from_utf8(line.strip_prefix(b":")?).ok()?.parse().ok()
}

/// As it is, but for the elements of RESP3 sets and maps, which have no order.
fn in_order(element: &Element) -> Element {
    let Element::Aggregate(header, items) = element else { return element.clone() };
    let items: Vec<Element> = items.iter().map(in_order).collect();
    let whole = Element::Aggregate(header.clone(), items);
    match header.first() {
        Some(b'~') => sorted(&whole, 1),
        Some(b'%') => sorted(&whole, 2),
        _ => whole,
    }
}

/// A description of users, less the words that allow or deny commands.
fn without_command_rules(element: &Element) -> Element {
    match element {
        Element::Bulk(_, text) => {
            let words = text.split(|byte| *byte == b' ').map(|word| match word {
                [b'+' | b'-', .., b')'] => b")",
                [b'+' | b'-', ..] => &word[..0],
                word => word,
            });
            let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
            Element::Line(words.join(&b' '))
        }
        Element::Aggregate(header, items) => {
            let items = items.iter().map(without_command_rules).collect();
            Element::Aggregate(header.clone(), items)
        }
        line => line.clone(),
    }
}

fn sorted(element: &Element, group: usize) -> Element {
    let Element::Aggregate(header, items) = element else { return element.clone() };
    let mut groups: Vec<&[Element]> = items.chunks(group).collect();
    groups.sort_by_key(|group| group.iter().map(Element::to_bytes).collect::<Vec<_>>());
    Element::Aggregate(header.clone(), groups.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Element {
        Element::Line(text.as_bytes().to_vec())
    }

    fn list(header: &str, items: &[&str]) -> Element {
        let items = items.iter().map(|item| line(item)).collect();
        Element::Aggregate(header.as_bytes().to_vec(), items)
    }

    #[test]
    fn errors_are_compared_exactly_whatever_the_command() {
        for how in [How::Type, How::AnyOrder, How::Within(5), How::Iteration] {
            assert!(!agree(how, &line("-ERR a"), &line("-ERR b")));
            assert!(!agree(how, &line("-ERR a"), &line("+OK")));
            assert!(agree(how, &line("-ERR a"), &line("-ERR a")));
        }
    }

    #[test]
    fn numbers_may_be_near_but_a_missing_key_is_missing() {
        assert!(agree(How::Within(2), &line(":10"), &line(":12")));
        assert!(!agree(How::Within(2), &line(":10"), &line(":13")));
        assert!(!agree(How::Within(2), &line(":-1"), &line(":-2")));
        assert!(!agree(How::Exact, &line(":1"), &line(":2")));
    }

    #[test]
    fn order_counts_unless_it_is_said_not_to() {
        let (ab, ba) = (list("*2", &[":1", ":2"]), list("*2", &[":2", ":1"]));
        assert!(!agree(How::Exact, &ab, &ba));
        assert!(agree(How::AnyOrder, &ab, &ba));
        assert!(!agree(How::AnyOrder, &ab, &list("*2", &[":1", ":1"])));
        assert!(agree(How::Exact, &list("~2", &[":1", ":2"]), &list("~2", &[":2", ":1"])));
        assert!(!agree(How::Exact, &list("%1", &[":1", ":2"]), &list("%1", &[":2", ":1"])));
        assert!(!agree(How::Type, &line("$-1"), &line(":1")));
    }

    #[test]
    fn users_differ_by_all_but_rules_on_commands() {
        let user = |text: &str| Element::Bulk(Vec::new(), text.as_bytes().to_vec());
        let agree = |one, other| agree(How::UnlessCommandRule, &user(one), &user(other));
        assert!(agree("on ~a -@all +get (~b +@all -set)", "on ~a +get (~b -@all)"));
        assert!(!agree("on ~a -@all", "on ~b -@all"));
        assert!(!agree("on ~a -@all", "off ~a -@all"));
        assert!(!agree("on (~a -@all)", "on -@all"));
    }

    #[test]
    fn a_departure_is_named_where_replies_differ() {
        let of = |words: &[&str]| {
            Comparison::of(&words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>())
        };
        let (one, two) = (line(":1"), line(":2"));
        assert_eq!(of(&["TTL", "k"]).departure(&one, &one), None);
        let departure = of(&["TTL", "k"]).departure(&one, &two);
        assert_eq!(departure.as_deref(), Some("ttl (Within(2))"));
        let departure = of(&["client", "LIST"]).departure(&one, &two);
        assert_eq!(departure.as_deref(), Some("client|list (Type)"));
    }

    #[test]
    fn only_whole_iterations_are_compared() {
        let scan = |words: &str| {
            let words: Vec<_> = words.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            Comparison::of(&words).how
        };
        assert_eq!(scan("scan 0 count 1000"), How::Iteration);
        assert_eq!(scan("scan 0 count 1000 COUNT 1"), How::Type);
        assert_eq!(scan("scan 1 count 1000"), How::Type);
        assert_eq!(scan("get k"), How::Exact);
        assert_eq!(scan("client list"), How::Type);
        assert_eq!(scan("nosuch"), How::Exact);
    }
}
