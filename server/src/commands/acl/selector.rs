//! A selector of a user: commands, keys and channels that go together.
//!
//! Commands are kept as the rules that were given, less those that changed nothing, and as one flag
//! for each command of the table that follows from the rules. So a category also covers commands of
//! later versions, and a listing names what was asked for.

use super::user::RuleError;
use crate::commands::categories::acl_categories;
use crate::commands::glob::Glob;
use crate::commands::numbering;
use crate::commands::server::key_specs;
use crate::commands::spec::{CommandSpec, Flags, Keys};
use crate::commands::words::is_word;
use protocol::Request;

/// Every category of Redis, in its order. Some have no command here yet.
pub(super) const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// May read the value of a key.
const READ: u8 = 1;
/// May change a key.
const WRITE: u8 = 2;

/// A pattern of keys with what may be done to them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    pattern: Vec<u8>,
    access: u8,
}

/// Why a request may not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command itself.
    Command,
    /// The key at this position.
    Key(usize),
}

/// What one selector allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    /// Whether the rules start from every command there is, and will be.
    from_all: bool,
    rules: Vec<String>,
    /// By number of a command.
    allowed: Vec<bool>,
    /// Commands that are allowed with this first argument only.
    first_args: Vec<(usize, Vec<u8>)>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Vec<u8>>,
}

impl Selector {
    /// Allows nothing.
    pub(super) fn nothing() -> Self {
        Selector {
            from_all: false,
            rules: Vec::new(),
            allowed: vec![false; numbering::count()],
            first_args: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels: false,
            channels: Vec::new(),
        }
    }

    /// Takes a selector in parentheses apart.
    pub(super) fn parse(text: &[u8]) -> Result<Self, RuleError> {
        let mut selector = Selector::nothing();
        for rule in text.split(u8::is_ascii_whitespace).filter(|rule| !rule.is_empty()) {
            selector.apply(rule)?;
        }
        Ok(selector)
    }

    /// Whether it allows everything, now and in later versions.
    pub(super) fn allows_everything(&self) -> bool {
        self.from_all && self.rules.is_empty() && self.all_keys && self.all_channels
    }

    /// Changes it by one rule.
    pub(super) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word| is_word(rule, word);
        match rule {
            _ if is("allkeys") || is("~*") => (self.all_keys, self.keys) = (true, Vec::new()),
            _ if is("resetkeys") => (self.all_keys, self.keys) = (false, Vec::new()),
            _ if is("allchannels") || is("&*") => {
                (self.all_channels, self.channels) = (true, Vec::new());
            }
            _ if is("resetchannels") => (self.all_channels, self.channels) = (false, Vec::new()),
            _ if is("allcommands") || is("+@all") => self.start_from(true),
            _ if is("nocommands") || is("-@all") => self.start_from(false),
            [b'~' | b'%', ..] => self.add_keys(rule)?,
            [b'&', pattern @ ..] => self.add_channel(pattern)?,
            [b'+' | b'-', ..] => self.add_command_rule(rule)?,
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn start_from(&mut self, all: bool) {
        self.from_all = all;
        self.rules.clear();
        self.first_args.clear();
        self.allowed.fill(all);
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeysAfterAll);
        }
        let (mut access, mut at) = (READ | WRITE, 1);
        if rule[0] == b'%' {
            access = 0;
            while let Some(letter) = rule.get(at) {
                at += 1;
                match letter.to_ascii_uppercase() {
                    b'R' if access & READ == 0 => access |= READ,
                    b'W' if access & WRITE == 0 => access |= WRITE,
                    b'~' if access != 0 => break,
                    _ => return Err(RuleError::Syntax),
                }
            }
        }
        let pattern = &rule[at..];
        if has_spaces(pattern) || access == 0 {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => known.access |= access,
            None => self.keys.push(KeyPattern { pattern: pattern.to_vec(), access }),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelsAfterAll);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// Adds `+command`, `-command`, `+command|sub` or a category.
    fn add_command_rule(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let text = std::str::from_utf8(rule).map_err(|_| RuleError::Unknown)?;
        let text = text.to_ascii_lowercase();
        self.change_commands(&text)?;
        let name = &text[1..];
        let inner = format!("{name}|");
        self.rules.retain(|known| known[1..] != *name && !known[1..].starts_with(&inner));
        self.rules.push(text);
        self.drop_idle_rules();
        Ok(())
    }

    /// Forgets rules on single commands that change nothing.
    fn drop_idle_rules(&mut self) {
        let mut at = 0;
        while at < self.rules.len() {
            if !self.rules[at][1..].starts_with('@') {
                let mut without = Selector::nothing();
                without.start_from(self.from_all);
                let others = self.rules.iter().enumerate().filter(|(nth, _)| *nth != at);
                let replayed = others.map(|(_, rule)| without.change_commands(rule));
                let whole = replayed.collect::<Result<(), _>>().is_ok();
                if whole && without.allowed == self.allowed && without.first_args == self.first_args
                {
                    self.rules.remove(at);
                    continue;
                }
            }
            at += 1;
        }
    }

    fn change_commands(&mut self, rule: &str) -> Result<(), RuleError> {
        let (allow, name) = (rule.starts_with('+'), &rule[1..]);
        if let Some(category) = name.strip_prefix('@') {
            if !CATEGORIES.contains(&category) {
                return Err(RuleError::Unknown);
            }
            for number in (0..numbering::count()).filter(|number| in_category(*number, category)) {
                self.set_command(numbering::spec(number), allow);
            }
            return Ok(());
        }
        let Some((command, sub)) = name.rsplit_once('|').filter(|_| allow) else {
            let spec = numbering::find(name.as_bytes()).ok_or(RuleError::Unknown)?;
            self.set_command(spec, allow);
            return Ok(());
        };
        let spec = numbering::find(command.as_bytes()).ok_or(RuleError::Unknown)?;
        if command.contains('|') {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if sub.is_empty() {
            return Err(RuleError::Syntax);
        }
        if spec.subcommands.is_empty() {
            let entry = (numbering::number(spec), sub.as_bytes().to_vec());
            if !self.first_args.contains(&entry) {
                self.first_args.push(entry);
            }
            return Ok(());
        }
        let spec = numbering::find(name.as_bytes()).ok_or(RuleError::Unknown)?;
        self.set_command(spec, allow);
        Ok(())
    }

    /// Allows or denies a command with its subcommands.
    fn set_command(&mut self, spec: &'static CommandSpec, allow: bool) {
        let number = numbering::number(spec);
        self.allowed[number] = allow;
        self.first_args.retain(|(of, _)| *of != number);
        spec.subcommands.iter().for_each(|sub| self.set_command(sub, allow));
    }

    /// Checks a request of a command.
    pub(super) fn check(
        &self,
        spec: &'static CommandSpec,
        request: &Request,
    ) -> Result<(), Denied> {
        let number = numbering::number(spec);
        if !self.allowed[number] && !spec.flags.has(Flags::NO_AUTH) {
            let first = request.get(1);
            let fits = |(of, arg): &(usize, Vec<u8>)| {
                *of == number && first.is_some_and(|first| first.eq_ignore_ascii_case(arg))
            };
            if !self.first_args.iter().any(fits) {
                return Err(Denied::Command);
            }
        }
        match self.all_keys || matches!(spec.keys, Keys::None) {
            true => Ok(()),
            false => self.check_keys(spec, request),
        }
    }

    fn check_keys(&self, spec: &'static CommandSpec, request: &Request) -> Result<(), Denied> {
        let specs = key_specs::of(spec);
        let (mut nth, mut denied) = (0usize, None);
        spec.keys.positions(request, |position| {
            let key_spec = specs.get(nth.min(specs.len().saturating_sub(1)));
            let flags = key_spec.map_or(&[][..], |key_spec| key_spec.flags_in(request));
            let needed = flags.iter().fold(0, |needed, flag| match *flag {
                "access" => needed | READ,
                "insert" | "update" | "delete" => needed | WRITE,
                _ => needed,
            });
            nth += 1;
            let key = request.arg(position);
            let fits = |known: &KeyPattern| {
                known.access & needed == needed && Glob::new(&known.pattern).matches(key)
            };
            if denied.is_none() && !self.keys.iter().any(fits) {
                denied = Some(Denied::Key(position));
            }
        });
        denied.map_or(Ok(()), Err)
    }

    /// Its rules on commands, as ACL LIST prints them.
    pub(super) fn describe_commands(&self) -> String {
        let mut text = if self.from_all { "+@all" } else { "-@all" }.to_owned();
        self.rules.iter().for_each(|rule| {
            text.push(' ');
            text.push_str(rule);
        });
        text
    }

    /// Its patterns of keys.
    pub(super) fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let shown = self.keys.iter().map(|known| {
            let prefix: &[u8] = match known.access {
                READ => b"%R~",
                WRITE => b"%W~",
                // `~*` would be all keys, after which no further pattern is taken.
                _ if known.pattern == b"*" => b"%RW~",
                _ => b"~",
            };
            [prefix, &known.pattern].concat()
        });
        shown.collect::<Vec<_>>().join(&b' ')
    }

    /// Its patterns of channels.
    pub(super) fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let shown = self.channels.iter().map(|pattern| [b"&", &pattern[..]].concat());
        shown.collect::<Vec<_>>().join(&b' ')
    }

    /// All of it, as ACL LIST prints it and [`Self::apply`] reads it.
    pub(super) fn describe(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        parts.push(self.describe_keys());
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        parts.push(self.describe_channels());
        parts.push(self.describe_commands().into_bytes());
        parts.retain(|part| !part.is_empty());
        parts.join(&b' ')
    }
}

/// Whether a command is in a category, given without its `@`.
pub(super) fn in_category(number: usize, category: &str) -> bool {
    acl_categories(numbering::spec(number)).iter().any(|known| known[1..] == *category)
}

/// Whether a text would not come back from a listing as it was.
pub(super) fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| *byte == 0 || byte.is_ascii_whitespace() || *byte == 0x0b)
}
