//! The syntax of a declaration, read: one tree from which COMMAND DOCS prints arguments and tests
//! derive arity.
//!
//! A syntax is written as on a manual page. `name` is a value, `NAME` a word as it stands, a `NAME`
//! before values is their token; `[..]` may be left out, `<..>` is a group, `a | b` is a choice,
//! and `a [a ...]` or `a ...` may be repeated. A name tells its type (`seconds` is an integer). What
//! Redis documents beyond that stands in braces behind the argument, parted by commas: its name, its
//! type, the version since which it exists, and `!` with that since which it should not be used:
//! `[NX | XX]{condition,2.6.12}`. An argument that takes several forms is named after them (`on_off`).
//!
//! Invariant: every syntax of the table can be read; a test does so. What is badly formed panics.

use std::borrow::Cow;

/// What an argument is, in Redis's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentType {
    /// Any bytes.
    String,
    /// A decimal integer.
    Integer,
    /// A floating point number.
    Double,
    /// Name of a key.
    Key,
    /// A glob.
    Pattern,
    /// Seconds or milliseconds since 1970.
    UnixTime,
    /// A word as it stands.
    PureToken,
    /// One of its arguments.
    OneOf,
    /// All of its arguments.
    Block,
}

impl ArgumentType {
    const ALL: [ArgumentType; 9] = [
        ArgumentType::String,
        ArgumentType::Integer,
        ArgumentType::Double,
        ArgumentType::Key,
        ArgumentType::Pattern,
        ArgumentType::UnixTime,
        ArgumentType::PureToken,
        ArgumentType::OneOf,
        ArgumentType::Block,
    ];

    /// As COMMAND DOCS prints it.
    pub fn name(self) -> &'static str {
        match self {
            ArgumentType::String => "string",
            ArgumentType::Integer => "integer",
            ArgumentType::Double => "double",
            ArgumentType::Key => "key",
            ArgumentType::Pattern => "pattern",
            ArgumentType::UnixTime => "unix-time",
            ArgumentType::PureToken => "pure-token",
            ArgumentType::OneOf => "oneof",
            ArgumentType::Block => "block",
        }
    }

    /// The type of a value by its name; a value of another type has it in braces.
    fn of_value(name: &str) -> Self {
        const INTEGERS: &[&str] = &[
            "client-id",
            "bits",
            "count",
            "cursor",
            "db",
            "decrement",
            "destination-db",
            "end",
            "increment",
            "index",
            "index1",
            "index2",
            "len",
            "milliseconds",
            "numlocal",
            "numreplicas",
            "offset",
            "port",
            "protover",
            "seconds",
            "slot",
            "start",
            "timeout",
        ];
        match name {
            "destination" | "key" | "key1" | "key2" | "newkey" | "source" => ArgumentType::Key,
            "pattern" => ArgumentType::Pattern,
            "unix-time-seconds" | "unix-time-milliseconds" => ArgumentType::UnixTime,
            name if INTEGERS.contains(&name) => ArgumentType::Integer,
            _ => ArgumentType::String,
        }
    }
}

/// One argument, with its parts where it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it is.
    pub kind: ArgumentType,
    /// The word that announces it.
    pub token: Option<&'static str>,
    /// Redis version that introduced it, where that is not the command's own.
    pub since: Option<&'static str>,
    /// Redis version since when it should not be used.
    pub deprecated_since: Option<&'static str>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub multiple: bool,
    /// Its parts, or the forms that it can take.
    pub arguments: Vec<Argument>,
}

impl Argument {
    fn new(name: impl Into<Cow<'static, str>>, kind: ArgumentType) -> Self {
        Argument {
            name: name.into(),
            kind,
            token: None,
            since: None,
            deprecated_since: None,
            optional: false,
            multiple: false,
            arguments: Vec::new(),
        }
    }

    /// Several arguments as one: the only one itself, or a group named after them.
    fn group(kind: ArgumentType, mut arguments: Vec<Argument>) -> Self {
        if arguments.len() == 1 {
            return arguments.remove(0);
        }
        let names = arguments.iter().map(|argument| &*argument.name).collect::<Vec<_>>().join("_");
        Argument { arguments, ..Argument::new(names, kind) }
    }

    /// As it is announced by a word.
    fn after(token: &'static str, arguments: Vec<Argument>) -> Self {
        let kind = ArgumentType::Block;
        let mut announced = match &arguments[..] {
            [] => Argument::new(token.to_ascii_lowercase(), ArgumentType::PureToken),
            // The word stands once, before all of them.
            [repeated] if repeated.multiple => {
                Argument { arguments, ..Argument::new(token.to_ascii_lowercase(), kind) }
            }
            _ => Argument::group(kind, arguments),
        };
        announced.token = Some(token);
        announced
    }

    /// Takes what stands in braces.
    fn annotate(&mut self, notes: &'static str) {
        for note in notes.split(',') {
            if let Some(version) = note.strip_prefix('!') {
                self.deprecated_since = Some(version);
            } else if note.starts_with(|first: char| first.is_ascii_digit()) {
                self.since = Some(note);
            } else if note == ArgumentType::Block.name() {
                let part = Argument { multiple: false, since: None, ..self.clone() };
                (self.kind, self.arguments) = (ArgumentType::Block, vec![part]);
            } else if let Some(kind) = ArgumentType::ALL.iter().find(|kind| kind.name() == note) {
                self.kind = *kind;
            } else {
                self.name = Cow::Borrowed(note);
            }
        }
    }

    /// How many words it takes at least.
    pub fn words_min(&self) -> usize {
        if self.optional { 0 } else { self.words_min_where_given() }
    }

    fn words_min_where_given(&self) -> usize {
        let parts = self.arguments.iter();
        let words = match self.kind {
            ArgumentType::PureToken => 0,
            ArgumentType::OneOf => parts.map(Argument::words_min_where_given).min().unwrap_or(0),
            ArgumentType::Block => parts.map(Argument::words_min).sum(),
            _ => 1,
        };
        words + usize::from(self.token.is_some())
    }

    /// Whether it always takes as many words as at least.
    pub fn is_fixed(&self) -> bool {
        let parts = &self.arguments;
        let mut words = parts.iter().map(Argument::words_min);
        let alike = match (self.kind, words.next()) {
            (ArgumentType::OneOf, Some(first)) => words.all(|other| other == first),
            _ => true,
        };
        !self.optional && !self.multiple && alike && parts.iter().all(Argument::is_fixed)
    }
}

/// The arguments that follow the name in a syntax; the name has `name_words` words.
///
/// # Panics
/// Where the syntax is badly formed.
pub fn arguments(syntax: &'static str, name_words: usize) -> Vec<Argument> {
    let mut reader = Reader { rest: syntax };
    for _ in 0..name_words {
        reader.next();
    }
    let read = reader.sequence();
    assert!(reader.rest.is_empty(), "{syntax}: {} follows", reader.rest);
    read
}

/// A syntax that is being read from its start.
struct Reader {
    rest: &'static str,
}

impl Reader {
    /// The next bracket, bar, word, ellipsis or text in braces.
    fn next(&mut self) -> Option<&'static str> {
        let next = self.peek()?;
        self.rest = self.rest.trim_start().get(next.len()..)?;
        Some(next)
    }

    fn peek(&self) -> Option<&'static str> {
        let rest = self.rest.trim_start();
        let len = match rest.chars().next()? {
            '[' | ']' | '<' | '>' | '|' => Some(1),
            '{' => rest.find('}').map(|end| end + 1),
            _ => rest.find(|c: char| c.is_whitespace() || "[]<>|{".contains(c)),
        };
        rest.get(..len.unwrap_or(rest.len()))
    }

    /// Arguments up to a closing bracket, a bar or the end.
    fn sequence(&mut self) -> Vec<Argument> {
        let mut read: Vec<Argument> = Vec::new();
        while let Some(next) = self.peek().filter(|next| !["]", ">", "|"].contains(next)) {
            self.next();
            let is_token = next.starts_with(|first: char| first.is_ascii_uppercase());
            if next == "[" {
                let inner = self.choice("]");
                add_optional(&mut read, inner);
            } else if next == "<" {
                let inner = self.choice(">");
                read.push(Argument::group(ArgumentType::Block, inner));
            } else if next == "..." {
                last(&mut read).multiple = true;
            } else if let Some(notes) = next.strip_prefix('{') {
                last(&mut read).annotate(notes.trim_end_matches('}'));
            } else if is_token && self.peek().is_none_or(|next| !next.starts_with('{')) {
                let announced = self.sequence();
                read.push(Argument::after(next, announced));
            } else if is_token {
                read.push(Argument::after(next, Vec::new()));
            } else {
                read.push(Argument::new(next, ArgumentType::of_value(next)));
            }
        }
        read
    }

    /// What stands in brackets: a sequence, or one argument that takes one of several forms.
    fn choice(&mut self, close: &str) -> Vec<Argument> {
        let mut forms = vec![self.sequence()];
        loop {
            match self.next() {
                Some("|") => forms.push(self.sequence()),
                Some(next) if next == close => break,
                other => panic!("{other:?} where {close} or | should be"),
            }
        }
        match forms.len() {
            1 => forms.remove(0),
            _ => {
                let as_one = |form| Argument::group(ArgumentType::Block, form);
                let forms = forms.into_iter().map(as_one).collect();
                vec![Argument::group(ArgumentType::OneOf, forms)]
            }
        }
    }
}

/// Adds what stands in square brackets: `[key ...]` behind `key` repeats it, all else is optional.
fn add_optional(read: &mut Vec<Argument>, mut inner: Vec<Argument>) {
    let before = read.len().saturating_sub(inner.len());
    let multiple = std::mem::take(&mut last(&mut inner).multiple);
    if multiple && read[before..] == inner[..] {
        read.truncate(before);
        let group = Argument::group(ArgumentType::Block, inner);
        read.push(Argument { multiple, ..group });
    } else {
        last(&mut inner).multiple = multiple;
        let group = Argument::group(ArgumentType::Block, inner);
        read.push(Argument { optional: true, ..group });
    }
}

fn last(read: &mut [Argument]) -> &mut Argument {
    read.last_mut().expect("an argument before what is said of it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments in one line: `name:type`, then what else is known of each.
    fn shown(arguments: &[Argument]) -> String {
        let one = |argument: &Argument| {
            let mut line = format!("{}:{}", argument.name, argument.kind.name());
            let notes = [
                ("token", argument.token),
                ("since", argument.since),
                ("!", argument.deprecated_since),
            ];
            for (what, note) in notes {
                line += &note.map_or(String::new(), |note| format!(" {what} {note}"));
            }
            line += if argument.optional { " optional" } else { "" };
            line += if argument.multiple { " multiple" } else { "" };
            match &argument.arguments[..] {
                [] => line,
                parts => format!("{line} ({})", shown(parts)),
            }
        };
        arguments.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn check(syntax: &'static str, expected: &str) {
        assert_eq!(shown(&arguments(syntax, 1)), expected, "{syntax}");
    }

    #[test]
    fn names_tell_types() {
        check(
            "X key seconds pattern text",
            "key:key, seconds:integer, pattern:pattern, text:string",
        );
        check("X increment{double}", "increment:double");
        check("X", "");
    }

    #[test]
    fn brackets_make_optional_and_repeated_arguments() {
        check("X [message]", "message:string optional");
        check("X key [key ...]", "key:key multiple");
        check("X [event [event ...]]", "event:string optional multiple");
        check("X key value [key value ...]", "key_value:block multiple (key:key, value:string)");
        check("X p [p ...]{block,7.0.0}", "p:block since 7.0.0 multiple (p:string)");
        check("X [a b]{both}", "both:block optional (a:string, b:string)");
    }

    #[test]
    fn words_announce_what_follows() {
        check("X [MATCH pattern]", "pattern:pattern token MATCH optional");
        check("X [REPLACE]{6.0.0}", "replace:pure-token token REPLACE since 6.0.0 optional");
        let host = "to:block token TO optional (h:string, p:string)";
        check("X [TO h p]{to}", host);
        check("X [ID i [i ...]]", "id:block token ID optional (i:string multiple)");
        let kind = "t:oneof token TYPE optional (a:pure-token token A, b:pure-token token B)";
        check("X [TYPE <A | B>{t}]", kind);
    }

    #[test]
    fn choices_are_named_after_their_forms() {
        check("X <ON | OFF>", "on_off:oneof (on:pure-token token ON, off:pure-token token OFF)");
        let expected = "e:oneof since 7 optional (s:string token EX since 2, k:pure-token token K)";
        check("X [EX s{2} | K]{e,7}", expected);
        check("X <a{!2} | b> ...", "a_b:oneof multiple (a:string ! 2, b:string)");
    }

    #[test]
    fn words_are_counted() {
        let words = |syntax| {
            let arguments = arguments(syntax, 1);
            let fixed = arguments.iter().all(Argument::is_fixed);
            (arguments.iter().map(Argument::words_min).sum::<usize>(), fixed)
        };
        assert_eq!(words("X key seconds"), (2, true));
        assert_eq!(words("X key value [key value ...]"), (2, false));
        assert_eq!(words("X <ON | OFF>"), (1, true));
        assert_eq!(words("X <A name | B name> [C]"), (2, false));
    }

    #[test]
    #[should_panic(expected = "where ] or | should be")]
    fn an_open_bracket_is_noticed() {
        arguments("X [a", 1);
    }
}
