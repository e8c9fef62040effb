//! Compares rendered replies with expected lines, which may hold placeholders for what varies.
//!
//! Text that a server sends and that looks like a placeholder is protected when it is rendered
//! (`\x3cint>`), so a recorded reply means itself.

/// The words that make a placeholder of `<word>` or `<word ...>`.
const NAMES: [&str; 6] = ["int", "float", "id", "any", "bulk", "reply"];
/// Length of an identifier of a node in hexadecimal digits.
const ID_DIGITS: usize = 40;

/// Whether `got` is what `expected` describes.
pub fn matches(expected: &[String], got: &[String]) -> bool {
    let Some((first, rest)) = expected.split_first() else {
        return got.is_empty();
    };
    let (depth, pattern) = (indent(first), first.trim_start());
    match pattern {
        "..." => {
            let run = got.iter().take_while(|line| indent(line) >= depth).count();
            (0..=run).any(|taken| matches(rest, &got[taken..]))
        }
        "<reply>" => {
            let Some((head, tail)) = got.split_first() else {
                return false;
            };
            let nested = tail.iter().take_while(|line| indent(line) > depth).count();
            indent(head) == depth && matches(rest, &tail[nested..])
        }
        _ => {
            let Some((head, tail)) = got.split_first() else {
                return false;
            };
            line_matches(first, head) && matches(rest, tail)
        }
    }
}

/// Whether one received line is what one expected line describes.
pub fn line_matches(expected: &str, got: &str) -> bool {
    if indent(expected) != indent(got) {
        return false;
    }
    let (expected, got) = (expected.trim_start(), got.trim_start());
    if expected == "<bulk>" {
        return got.starts_with(['$', '=']) && got != "$-1";
    }
    text_matches(expected, got)
}

/// The expected lines as recording leaves them: those that still match stay, others are replaced.
pub fn merge(expected: &[String], got: &[String]) -> Vec<String> {
    if matches(expected, got) {
        return expected.to_vec();
    }
    if expected.len() != got.len() {
        return got.to_vec();
    }
    let keep = |(old, new): (&String, &String)| {
        if line_matches(old, new) { old.clone() } else { new.clone() }
    };
    expected.iter().zip(got).map(keep).collect()
}

/// Escapes what would read as a placeholder.
pub fn protect(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '<' if placeholder(&text[at..]).is_some() => out.push_str("\\x3c"),
            _ => out.push(c),
        }
    }
    if out.trim() == "..." { out.replace('.', "\\x2e") } else { out }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn text_matches(expected: &str, got: &str) -> bool {
    let Some(start) = find_placeholder(expected) else {
        return expected == got;
    };
    let (literal, rest) = expected.split_at(start);
    let Some(got) = got.strip_prefix(literal) else {
        return false;
    };
    let Some((name, bounds, after)) = placeholder(rest) else {
        return false;
    };
    (0..=got.len())
        .filter(|&end| got.is_char_boundary(end))
        .any(|end| accepts(name, bounds, &got[..end]) && text_matches(after, &got[end..]))
}

fn accepts(name: &str, bounds: &str, text: &str) -> bool {
    match name {
        "any" => true,
        "id" => text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "float" => !text.is_empty() && !text.contains(' ') && text.parse::<f64>().is_ok(),
        "int" => text.parse::<i128>().is_ok_and(|value| in_bounds(bounds, value)),
        _ => false,
    }
}

fn in_bounds(bounds: &str, value: i128) -> bool {
    if bounds.is_empty() {
        return true;
    }
    let Some((low, high)) = bounds.split_once("..") else {
        return false;
    };
    match (low.parse::<i128>(), high.parse::<i128>()) {
        (Ok(low), Ok(high)) => (low..=high).contains(&value),
        _ => false,
    }
}

fn find_placeholder(text: &str) -> Option<usize> {
    text.match_indices('<').map(|(at, _)| at).find(|&at| placeholder(&text[at..]).is_some())
}

/// The placeholder that `text` begins with: its name, its bounds, and the text after it.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (inside, after) = text.strip_prefix('<')?.split_once('>')?;
    let (name, bounds) = inside.split_once(' ').unwrap_or((inside, ""));
    NAMES.contains(&name).then_some((name, bounds, after))
}
