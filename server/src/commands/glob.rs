//! Patterns of KEYS and SCAN MATCH: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a literal byte.
//!
//! Which texts match is exactly what Redis 7.0.15 says, its treatment of unfinished classes and of
//! signed bytes in ranges included. The pattern is taken apart once; matching backtracks to the
//! last star only, so that it costs at most pattern times text steps, whatever the pattern.

/// What one place of a pattern accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// This byte.
    Byte(u8),
    /// Any byte.
    Any,
    /// A byte of a set.
    Class(Box<[bool; 256]>),
    /// Any number of any bytes.
    Star,
}

/// A pattern, ready to be compared with many texts.
#[derive(Clone, Debug)]
pub struct Glob {
    parts: Vec<Part>,
    /// The pattern is a lone star, which KEYS and SCAN do not even look at.
    all: bool,
}

impl Glob {
    /// Takes a pattern apart; every byte string is a pattern.
    pub fn new(pattern: &[u8]) -> Self {
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let [first, after @ ..] = rest {
            rest = after;
            parts.push(match (first, after) {
                (b'*', _) => Part::Star,
                (b'?', _) => Part::Any,
                (b'[', _) => class(&mut rest),
                (b'\\', [escaped, after @ ..]) => {
                    rest = after;
                    Part::Byte(*escaped)
                }
                (literal, _) => Part::Byte(*literal),
            });
        }
        parts.dedup_by(|part, before| *part == Part::Star && *before == Part::Star);
        Glob { parts, all: pattern == b"*" }
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        if self.all {
            return true;
        }
        if text.is_empty() {
            // Redis does not begin to look at a pattern when there is no text.
            return self.parts.is_empty();
        }
        let (mut part, mut at) = (0, 0);
        let mut last_star: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.parts.get(part) {
                Some(Part::Star) => {
                    last_star = Some((part + 1, at));
                    part += 1;
                }
                Some(other) if other.accepts(text[at]) => {
                    (part, at) = (part + 1, at + 1);
                }
                _ => {
                    let Some((after_star, from)) = last_star else {
                        return false;
                    };
                    last_star = Some((after_star, from + 1));
                    (part, at) = (after_star, from + 1);
                }
            }
        }
        self.parts[part..].iter().all(|part| *part == Part::Star)
    }
}

impl Part {
    fn accepts(&self, byte: u8) -> bool {
        match self {
            Part::Byte(literal) => *literal == byte,
            Part::Any => true,
            Part::Class(set) => set[usize::from(byte)],
            Part::Star => false,
        }
    }
}

/// Reads a class behind its `[` up to and with its `]`, or to the end where there is none.
fn class(rest: &mut &[u8]) -> Part {
    let negated = rest.first() == Some(&b'^');
    if negated {
        *rest = &rest[1..];
    }
    let mut set = Box::new([false; 256]);
    loop {
        *rest = match *rest {
            [b'\\', escaped, after @ ..] => {
                set[usize::from(*escaped)] = true;
                after
            }
            [b']', after @ ..] => {
                *rest = after;
                break;
            }
            [] => break,
            [from, b'-', to, after @ ..] => {
                add_range(&mut set, *from as i8, *to as i8);
                after
            }
            [literal, after @ ..] => {
                set[usize::from(*literal)] = true;
                after
            }
        };
    }
    if negated {
        set.iter_mut().for_each(|member| *member = !*member);
    }
    Part::Class(set)
}

/// Adds the bytes between two bounds in either order. Bytes are signed here, as in Redis.
fn add_range(set: &mut [bool; 256], one: i8, other: i8) {
    for member in one.min(other)..=one.max(other) {
        set[usize::from(member as u8)] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &[u8], matching: &[&[u8]], others: &[&[u8]]) {
        let glob = Glob::new(pattern);
        for text in matching {
            assert!(glob.matches(text), "{} {}", pattern.escape_ascii(), text.escape_ascii());
        }
        for text in others {
            assert!(!glob.matches(text), "{} {}", pattern.escape_ascii(), text.escape_ascii());
        }
    }

    #[test]
    fn patterns_match_as_in_redis() {
        check(b"*", &[b"", b"a", b"abc"], &[]);
        check(b"**", &[b"a"], &[b""]);
        check(b"", &[b""], &[b"a"]);
        check(b"h?llo", &[b"hello", b"h\xffllo"], &[b"hllo", b"heello"]);
        check(b"h*llo*", &[b"hllo", b"heeello", b"hllollo!"], &[b"hell", b"ello"]);
        check(b"*a*b", &[b"ab", b"xaxbxb"], &[b"ba", b"abx"]);
        check(b"h[ae]llo", &[b"hallo", b"hello"], &[b"hillo"]);
        check(b"h[^e]llo", &[b"hallo"], &[b"hello", b"hllo"]);
        check(b"h[a-b]llo", &[b"hallo", b"hbllo"], &[b"hcllo", b"h-llo"]);
        check(b"h[b-a]llo", &[b"hallo"], &[b"hcllo"]);
        check(b"[\\]]", &[b"]"], &[b"\\", b"["]);
        check(b"a\\*b", &[b"a*b"], &[b"axb"]);
        check(b"a\\", &[b"a\\"], &[b"a"]);
    }

    #[test]
    fn unfinished_classes_end_with_the_pattern() {
        check(b"[", &[], &[b"", b"[", b"a"]);
        check(b"[ab", &[b"a", b"b"], &[b"[", b"ab"]);
        check(b"[^", &[b"a"], &[b""]);
        check(b"[^]", &[b"]"], &[b""]);
        check(b"[]a]", &[], &[b"]", b"a", b"a]"]);
        check(b"[a-", &[b"a", b"-"], &[b"b"]);
        check(b"[a-]", &[b"]", b"^", b"a"], &[b"-", b"b"]);
    }

    #[test]
    fn bounds_of_ranges_are_signed() {
        check(b"[a-\xff]", &[b"a", b"\x00", b"\xff"], &[b"b", b"\xfe"]);
        check(b"[\x80-\xff]", &[b"\x80", b"\xff"], &[b"\x00", b"\x7f"]);
    }

    #[test]
    fn many_stars_cost_no_more_than_one() {
        let pattern = b"*a".repeat(5_000);
        let glob = Glob::new(&[&pattern[..], b"*b"].concat());
        assert!(!glob.matches(&b"a".repeat(20_000)));
        assert!(glob.matches(&[&b"a".repeat(20_000)[..], b"b"].concat()));
    }
}
