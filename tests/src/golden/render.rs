//! Replies as text: one line per RESP element, the elements of an aggregate indented below it.
//!
//! The text is exact (different bytes, different text) except for the views a script asks for.

use super::pattern;
use super::wire::Element;
use super::words::{escape, quote};

const INDENT: &str = "  ";

/// How a script wants to see a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    Exact,
    /// Elements of the outermost aggregate in sorted order.
    Sorted,
    /// The same for alternating keys and values.
    SortedPairs,
    /// A bulk string line by line, each with its line end.
    Lines,
}

/// The lines that show `element`.
pub fn render(element: &Element, view: View) -> Vec<String> {
    let mut lines = Vec::new();
    match (view, element) {
        (View::Sorted, Element::Aggregate(header, items)) => {
            append(&Element::Aggregate(header.clone(), sorted(items, 1)), 0, &mut lines);
        }
        (View::SortedPairs, Element::Aggregate(header, items)) => {
            append(&Element::Aggregate(header.clone(), sorted(items, 2)), 0, &mut lines);
        }
        (View::Lines, Element::Bulk(header, content)) => {
            let kind = char::from(header[0]);
            lines.push(format!("{kind} lines"));
            for line in content.split_inclusive(|&byte| byte == b'\n') {
                lines.push(pattern::protect(&format!("{INDENT}{}", quote(line))));
            }
        }
        _ => append(element, 0, &mut lines),
    }
    lines
}

fn append(element: &Element, depth: usize, lines: &mut Vec<String>) {
    let indent = INDENT.repeat(depth);
    let text = match element {
        Element::Line(line) => escape(line, false),
        Element::Bulk(header, content) => format!("{} {}", escape(header, false), quote(content)),
        Element::Aggregate(header, _) => escape(header, false),
    };
    lines.push(format!("{indent}{}", pattern::protect(&text)));
    if let Element::Aggregate(_, items) = element {
        for item in items {
            append(item, depth + 1, lines);
        }
    }
}

fn sorted(items: &[Element], group: usize) -> Vec<Element> {
    let mut groups: Vec<Vec<Element>> = items.chunks(group).map(<[Element]>::to_vec).collect();
    groups.sort_by_key(|group| group.iter().map(Element::to_bytes).collect::<Vec<_>>());
    groups.concat()
}
