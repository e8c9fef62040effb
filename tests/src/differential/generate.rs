//! Requests, made from the syntax in the command table: mostly right, often a little wrong.
//!
//! Invariant: no number that could be a deadline lies near this moment; see [`far_from_now`].

use super::blocks::Blocks;
use super::departures::{How, how};
use super::rules::{self, USERS};
use super::{CONNECTIONS, Step};
use crate::random::Random;
use kvorum::commands::spec::{CommandSpec, Group};
use kvorum::commands::syntax::{self, Argument, ArgumentType};
use kvorum::commands::{self};
use std::sync::LazyLock;

const KEYS: &[&[u8]] =
    &[b"a", b"b", b"c", b"key:1", b"key:2", b"{t}x", b"", b"k\x00\xff\r\n", b"[a]*", b"B"];

const INTEGERS: &[&[u8]] = &[
    b"0",
    b"1",
    b"-1",
    b"2",
    b"3",
    b"-2",
    b"5",
    b"7",
    b"10",
    b"16",
    b"100",
    b"1000",
    b"-100",
    b"2147483647",
    b"2147483648",
    b"-2147483649",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"-9223372036854775809",
    b"9223372036854775",
    b"18446744073709551615",
    b"99999999999999999999999",
    b"+1",
    b"01",
    b" 1",
    b"1 ",
    b"-0",
    b"",
    b"-",
    b"1.0",
    b"1e3",
    b"0x10",
    b"abc",
    b"1\x00",
];

const FLOATS: &[&[u8]] = &[
    b"0",
    b"1.5",
    b"-1.5",
    b"0.1",
    b"3",
    b"1e3",
    b"1e-3",
    b"-1e300",
    b"1e308",
    b"1e4000",
    b"1e5000",
    b"nan",
    b"inf",
    b"-inf",
    b"+inf",
    b"infinity",
    b"0x1p3",
    b"5e-324",
    b"1e-4940",
    b"99999999999999999",
    b"0.30000000000000004",
    b" 1",
    b"1 ",
    b"",
    b".5",
    b"5.",
    b"-",
    b"1e",
    b"abc",
    b"1.5\x00",
    b"-0",
    b"123456789.123456789123456789",
];

pub(super) const PATTERNS: &[&[u8]] = &[
    b"*",
    b"?",
    b"key:*",
    b"[a-c]",
    b"[^a]*",
    b"[c-a]",
    b"[",
    b"[a",
    b"[\\]]*",
    b"\\*",
    b"\\",
    b"*\\",
    b"",
    b"**b**",
    b"{t}?",
    b"a*a*a*a*b",
    b"k\x00*",
    b"[a-",
    b"[]",
    b"[^",
    b"[^]*",
];

const STRINGS: &[&[u8]] = &[
    b"",
    b"x",
    b"abc",
    b"ABCabc",
    b"hello world",
    b"mhello wonderful",
    b"\x00\x01\xfe\xff",
    b"\r\n",
    b"10",
    b"-3",
    b"3.14",
    b"9223372036854775807",
    b"01",
    b"exactly forty-four bytes for an embstr va",
    b"this is longer than what Redis keeps in the object itself",
];

/// Settings that both have, that a run may change, and with which a script begins.
pub(super) const SETTINGS: &[(&str, &str)] =
    &[("slowlog-max-len", "128"), ("slowlog-log-slower-than", "10000")];

/// All settings.
static ALL_SETTINGS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| kvorum::config::all().map(|setting| setting.name).collect());

/// Databases that are used on purpose.
pub(super) const DATABASES: &[&str] = &["0", "1", "2"];

/// Words put where something else belongs.
const WORDS: &[&str] = &[
    "NX", "XX", "GT", "LT", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "GET", "PERSIST", "DB",
    "REPLACE", "MATCH", "COUNT", "TYPE", "LEN", "IDX", "string", "list", "ON", "OFF", "ASYNC",
    "AUTH", "SETNAME", "default",
];

/// A command of the table, with its full name in words.
struct Candidate {
    words: Vec<&'static str>,
    spec: &'static CommandSpec,
    syntax: Vec<Argument>,
}

/// All commands and subcommands.
static ALL: LazyLock<Vec<Candidate>> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut add = |words: Vec<&'static str>, spec: &'static CommandSpec| {
        let syntax = syntax::arguments(spec.syntax, words.len());
        all.push(Candidate { words, spec, syntax });
    };
    for spec in commands::all() {
        add(vec![spec.name], spec);
        for subcommand in spec.subcommands {
            add(vec![spec.name, subcommand.name], subcommand);
        }
    }
    all
});

/// Those that may be sent to redis-server.
fn candidates(filter: &str) -> Vec<&'static Candidate> {
    let is_sent = |candidate: &&Candidate| {
        let name = candidate.words.join("|");
        how(&name, candidate.spec) != How::NotSent && name.contains(filter)
    };
    let found: Vec<_> = ALL.iter().filter(is_sent).collect();
    assert!(!found.is_empty(), "no command matches {filter}");
    found
}

/// A script of `len` requests.
pub(super) fn script(random: &mut Random, len: usize, filter: &str) -> Vec<Step> {
    let candidates = candidates(filter);
    // Few keys and few commands meet each other more often.
    let keys = &KEYS[..1 + random.below(KEYS.len())];
    let favourites: Vec<usize> = (0..8).map(|_| random.below(candidates.len())).collect();
    // Redis counts keys whose deadline is past until it comes across them.
    let past = random.percent(30);
    let counts = |args: &Vec<Vec<u8>>| {
        args[0].eq_ignore_ascii_case(b"dbsize") || args[0].eq_ignore_ascii_case(b"memory")
    };
    let mut maker = Maker { random, past, keys, free: false, names_users: false };
    let mut steps = Vec::with_capacity(len + 16);
    let (mut connection, mut blocks) = (0, Blocks::default());
    if maker.random.percent(50) {
        steps.push(Step { connection: 1, args: words(&["HELLO", "3"]) });
    }
    while steps.len() < len {
        if maker.random.percent(10) {
            connection = maker.random.below(CONNECTIONS);
        }
        let favourite = *maker.random.pick(&favourites);
        let at =
            if maker.random.percent(50) { favourite } else { maker.random.below(candidates.len()) };
        let args =
            if maker.random.percent(2) { maker.unknown() } else { maker.request(candidates[at]) };
        let step = Step { connection, args };
        blocks.note(&step);
        if !(past && counts(&step.args)) && blocks.let_through(&step) {
            steps.push(step);
        }
    }
    steps.extend(look_at_everything().into_iter().filter(|step| !(past && counts(&step.args))));
    steps
}

/// Requests for commands that are `wanted`, for those who answer them without a server.
pub(super) fn requests(
    random: &mut Random,
    len: usize,
    wanted: fn(&CommandSpec) -> bool,
) -> Vec<Vec<Vec<u8>>> {
    let candidates: Vec<_> = ALL.iter().filter(|candidate| wanted(candidate.spec)).collect();
    let keys = &KEYS[..1 + random.below(KEYS.len())];
    let mut maker = Maker { random, past: true, keys, free: true, names_users: true };
    let mut request = || {
        let at = maker.random.below(candidates.len());
        maker.request(candidates[at])
    };
    (0..len).map(|_| request()).collect()
}

/// Full names of commands and subcommands that may be sent to redis-server.
pub(super) fn command_names() -> &'static [String] {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        candidates("").iter().map(|candidate| candidate.words.join("|")).collect()
    });
    &NAMES
}

/// Requests that show what a script left behind.
fn look_at_everything() -> Vec<Step> {
    let mut steps = vec![words(&["RESET"])];
    for database in DATABASES {
        steps.push(words(&["SELECT", database]));
        steps.push(words(&["DBSIZE"]));
        steps.push(words(&["KEYS", "*"]));
        for key in KEYS {
            let with = |name: &str| vec![name.as_bytes().to_vec(), key.to_vec()];
            steps.extend([with("GET"), with("PTTL")]);
            steps.push(vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.to_vec()]);
        }
    }
    steps.into_iter().map(|args| Step { connection: 0, args }).collect()
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

struct Maker<'a> {
    random: &'a mut Random,
    /// Whether keys may be stored with a deadline that is past.
    past: bool,
    /// Whether there is no server to spare: settings and users are any.
    free: bool,
    /// Whether a name of a user is one of those that are made.
    names_users: bool,
    keys: &'static [&'static [u8]],
}

impl Maker<'_> {
    fn request(&mut self, of: &Candidate) -> Vec<Vec<u8>> {
        let mut args = Vec::new();
        self.names_users = self.free || of.words[0] == "acl";
        for word in &of.words {
            args.push(self.in_some_case(word));
        }
        let name_words = args.len();
        for argument in &of.syntax {
            self.add(argument, &mut args);
        }
        while self.random.percent(12) {
            self.spoil(&mut args, name_words);
        }
        if mentions_time(&of.syntax) {
            let past = self.past || name_words == 1 && of.words[0].contains("expire");
            args[name_words..].iter_mut().for_each(|arg| far_from_now(arg, past));
        }
        args
    }

    /// Names that no command has, and containers asked for what they do not hold.
    fn unknown(&mut self) -> Vec<Vec<u8>> {
        let names: [&[u8]; 7] =
            [b"nosuch", b"", b"get\x00", b"OBJECT", b"CONFIG", b"a'b\r\n", b"COMMAND"];
        let mut args = vec![self.random.pick(&names).to_vec()];
        for _ in 0..self.random.below(4) {
            args.push(self.anything());
        }
        if args.len() > 1 && args[0].is_ascii() && args[0].len() > 4 {
            args[1] = b"nosuch".to_vec();
        }
        args
    }

    fn add(&mut self, argument: &Argument, args: &mut Vec<Vec<u8>>) {
        if argument.optional && self.random.percent(55) {
            return;
        }
        let times = match argument.multiple {
            true if self.random.percent(5) => 20,
            true => 1 + self.random.below(3),
            false => 1,
        };
        for _ in 0..times {
            if let Some(token) = argument.token {
                args.push(self.in_some_case(token));
            }
            let parts = &argument.arguments;
            match argument.kind {
                ArgumentType::PureToken => {}
                ArgumentType::OneOf => {
                    let form = self.random.pick(parts).clone();
                    self.add(&form, args);
                }
                ArgumentType::Block => parts.iter().for_each(|part| self.add(part, args)),
                kind => args.push(self.value(&argument.name, kind)),
            }
        }
    }

    /// A value for an argument of this name and type.
    fn value(&mut self, name: &str, kind: ArgumentType) -> Vec<u8> {
        match (name, kind) {
            ("rule", _) => self.rule(),
            ("username", _) if self.names_users && self.random.percent(90) => {
                match self.random.below(8) {
                    0 => b"default".to_vec(),
                    _ => self.random.pick(USERS).as_bytes().to_vec(),
                }
            }
            ("password" | "value", _) if self.free && self.random.percent(30) => {
                self.one_of(&[b"secret", b"yes", b"no", b"100mb", b"0", b"1", b"everysec"])
            }
            ("parameter", _) if self.free => {
                self.random.pick::<&str>(&ALL_SETTINGS).as_bytes().to_vec()
            }
            ("arg", _) if self.random.percent(50) => self.random.pick(self.keys).to_vec(),
            ("parameter", _) => match self.random.percent(90) {
                true => self.random.pick(SETTINGS).0.as_bytes().to_vec(),
                false => b"no-such-setting".to_vec(),
            },
            ("index" | "index1" | "index2" | "db" | "destination-db", _) => {
                self.one_of(&[b"0", b"1", b"1", b"2"])
            }
            ("protover", _) => self.one_of(&[b"2", b"3"]),
            ("cursor", _) if self.random.percent(80) => b"0".to_vec(),
            ("count", _) if self.random.percent(60) => b"1000".to_vec(),
            ("type", _) => self.one_of(&[b"string", b"STRING", b"list", b"nosuch"]),
            ("command", _) if self.random.percent(80) => {
                // Those that Redis knows too.
                let both =
                    |spec: &&CommandSpec| spec.group != Group::Raft && spec.name != "waitaof";
                let all: Vec<_> = commands::all().filter(both).collect();
                self.random.pick(&all).name.as_bytes().to_vec()
            }
            (_, ArgumentType::Key) => self.random.pick(self.keys).to_vec(),
            (_, ArgumentType::Integer) if self.random.percent(60) => {
                (self.random.below(40) as i64 - 10).to_string().into_bytes()
            }
            (_, ArgumentType::Integer | ArgumentType::UnixTime) => self.one_of(INTEGERS),
            (_, ArgumentType::Double) => self.float(),
            (_, ArgumentType::Pattern) => self.pattern(),
            _ => self.text(),
        }
    }

    fn rule(&mut self) -> Vec<u8> {
        loop {
            let rule = rules::rule(self.random);
            if self.free || !rule.starts_with(b"<") {
                return rule;
            }
        }
    }

    fn one_of(&mut self, values: &[&[u8]]) -> Vec<u8> {
        self.random.pick(values).to_vec()
    }

    fn float(&mut self) -> Vec<u8> {
        if self.random.percent(50) {
            return self.one_of(FLOATS);
        }
        let mantissa = self.random.number() as i64 >> self.random.below(60);
        let exponent = self.random.below(40) as i64 - 20;
        format!("{mantissa}e{exponent}").into_bytes()
    }

    fn pattern(&mut self) -> Vec<u8> {
        if self.random.percent(60) {
            return self.one_of(PATTERNS);
        }
        let len = self.random.below(8);
        (0..len).map(|_| *self.random.pick(b"ab*?[]^-\\kBt{}1")).collect()
    }

    fn text(&mut self) -> Vec<u8> {
        match self.random.below(10) {
            0..5 => self.one_of(STRINGS),
            5 => self.one_of(INTEGERS),
            6 => self.float(),
            7 => (0..self.random.below(12)).map(|_| *self.random.pick(b"abcABC")).collect(),
            8 => (0..self.random.below(60)).map(|_| self.random.number() as u8).collect(),
            _ => {
                let len_max = if self.random.percent(3) { 40_000 } else { 100 };
                vec![b'v'; self.random.below(len_max)]
            }
        }
    }

    fn anything(&mut self) -> Vec<u8> {
        match self.random.below(5) {
            0 => {
                let word = *self.random.pick(WORDS);
                self.in_some_case(word)
            }
            1 => self.one_of(INTEGERS),
            2 => self.random.pick(self.keys).to_vec(),
            3 => self.pattern(),
            _ => self.text(),
        }
    }

    /// Makes a request wrong, or right in another way; its name stays.
    fn spoil(&mut self, args: &mut Vec<Vec<u8>>, name_words: usize) {
        let count = args.len() - name_words;
        let at = name_words + self.random.below(count.max(1));
        match self.random.below(6) {
            0 if count > 0 => drop(args.remove(at)),
            1 if count > 0 => args[at] = self.anything(),
            2 if count > 0 => args.push(args[at].clone()),
            3 if count > 1 => {
                let other = name_words + self.random.below(count);
                args.swap(at, other);
            }
            4 => args.truncate(at),
            _ => {
                let anything = self.anything();
                args.insert(name_words + self.random.below(count + 1), anything);
            }
        }
    }

    fn in_some_case(&mut self, word: &str) -> Vec<u8> {
        match self.random.below(3) {
            0 => word.to_ascii_lowercase().into_bytes(),
            1 => word.to_ascii_uppercase().into_bytes(),
            _ => word
                .bytes()
                .map(|byte| match self.random.percent(50) {
                    true => byte.to_ascii_uppercase(),
                    false => byte.to_ascii_lowercase(),
                })
                .collect(),
        }
    }
}

/// Whether a deadline can be among these arguments.
fn mentions_time(arguments: &[Argument]) -> bool {
    arguments.iter().any(|argument| {
        argument.kind == ArgumentType::UnixTime
            || ["seconds", "milliseconds"].contains(&&*argument.name)
            || mentions_time(&argument.arguments)
    })
}

/// Makes small numbers large: a deadline that passes during a run would let clocks decide. What
/// is then a time since 1970 is far ahead, or long past if it may be, and a ttl is hours at least.
fn far_from_now(arg: &mut Vec<u8>, past: bool) {
    let number = std::str::from_utf8(arg).ok().and_then(|text| text.parse::<i64>().ok());
    let Some(number) = number.filter(|number| *number > 0) else { return };
    if !past && number < 10_000_000_000_000 {
        *arg = (number + 10_000_000_000_000).to_string().into_bytes();
    } else if number < 10_000_000 {
        *arg = (number.saturating_mul(10_000_000) % 1_000_000_007 + 10_000_000)
            .to_string()
            .into_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_script() {
        let make = |seed| script(&mut Random::new(seed), 300, "");
        assert_eq!(make(3), make(3));
        assert_ne!(make(3), make(4));
    }

    #[test]
    fn every_command_that_may_be_sent_is_sent_before_long() {
        let mut missing: Vec<String> =
            candidates("").iter().map(|candidate| candidate.words.join(" ")).collect();
        for seed in 0..40 {
            for step in script(&mut Random::new(seed), 200, "") {
                let sent = step.args.iter().map(|arg| String::from_utf8_lossy(arg).to_lowercase());
                let sent = sent.collect::<Vec<_>>().join(" ");
                missing.retain(|name| sent != *name && !sent.starts_with(&format!("{name} ")));
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn deadlines_are_far() {
        let day_ms = 86_400_000;
        for text in ["1", "100", "9999999", "123456"] {
            let mut arg = text.as_bytes().to_vec();
            far_from_now(&mut arg, true);
            let ms: u64 = String::from_utf8(arg.clone()).unwrap().parse().unwrap();
            assert!((10_000_000..12 * day_ms).contains(&ms), "{text} {ms}");
            far_from_now(&mut arg, false);
            let ms: u64 = String::from_utf8(arg).unwrap().parse().unwrap();
            assert!(ms > 100_000 * day_ms, "{text} {ms}");
        }
    }
}
