//! Configuration: files, values on the command line and of CONFIG SET are taken or refused, and what
//! is shown of values that were taken is taken again.

use super::{Done, spoil, temporary_dir};
use crate::random::Random;
use kvorum::config::{self, Setting, Settings};
use std::fs;
use std::sync::LazyLock;
use tempfile::TempDir;

/// Percent of the values whose whole configuration is shown and read again, which takes long.
const SHOWN_PERCENT: usize = 2;

/// Parts of values, right ones and others.
const VALUES: &[&str] = &[
    "1",
    "-",
    "0",
    "9223372036854775807",
    "yes",
    "no",
    "gb",
    "kb",
    "%",
    " ",
    "\"",
    "\\",
    ":",
    ".",
    "'",
    "[",
    "]",
    ",",
    "{",
    "}",
    "=",
    "#",
    "\n",
    "1e9",
    "é",
    "127.0.0.1",
    "always",
    "memory",
];

/// Lines of the sample and of the defaults, with nothing commented out.
static LINES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let text = config::sample_toml() + &Settings::default().to_toml();
    let lines = text.lines().map(|line| line.strip_prefix("# ").unwrap_or(line));
    lines.filter(|line| line.contains(" = ")).map(str::to_owned).collect()
});

static SETTINGS: LazyLock<Vec<&'static Setting>> = LazyLock::new(|| config::all().collect());

thread_local! {
    static DIR: TempDir = temporary_dir();
}

fn value(random: &mut Random) -> String {
    (0..random.below(5)).map(|_| *random.pick(VALUES)).collect()
}

/// A few lines that might be of a configuration.
fn text(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..random.below(6) {
        match random.percent(60) {
            true => text.push_str(random.pick::<String>(&LINES)),
            false => {
                let (name, value) = (random.pick::<&Setting>(&SETTINGS).name, value(random));
                let quote = if random.percent(50) { "\"" } else { "" };
                text.push_str(&format!("{name} = {quote}{value}{quote}"));
            }
        }
        text.push('\n');
    }
    let mut text = text.into_bytes();
    if random.percent(50) {
        spoil(random, &mut text);
    }
    text
}

/// The target: a file and a value, which is read as a flag and by CONFIG SET.
pub(super) fn configuration(random: &mut Random) -> Done {
    let done = |readings| Done { executions: 2, readings };
    let file = DIR.with(|dir| dir.path().join("kvorum.toml"));
    fs::write(&file, text(random)).expect("the file can be written");
    let none = std::iter::empty;
    drop(Settings::from_sources(Some(&file), none(), &[]));
    let (setting, value) = (*random.pick::<&Setting>(&SETTINGS), value(random));
    let settings =
        Settings::from_sources(None, none(), &[(setting.name.to_owned(), value.clone())]);
    drop(Settings::default().set(&[(setting.name, &value)]));
    let Ok(settings) = settings else { return done(3) };
    // Secrets are not shown.
    if setting.secret || !random.percent(SHOWN_PERCENT) {
        return done(3);
    }
    fs::write(&file, settings.to_toml()).expect("the file can be written");
    let again = Settings::from_sources(Some(&file), none(), &[]);
    let again = again.unwrap_or_else(|error| panic!("{}={value:?}: {error}", setting.name));
    let all = [b"*".as_slice()];
    assert_eq!(again.get(&all), settings.get(&all), "{}={value:?}", setting.name);
    done(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_and_refused() {
        let file = temporary_dir();
        let file = file.path().join("kvorum.toml");
        let (mut taken, mut refused) = (0, 0);
        for seed in 0..400 {
            let text = text(&mut Random::new(seed));
            fs::write(&file, &text).expect("the file can be written");
            match Settings::from_sources(Some(&file), std::iter::empty(), &[]) {
                Ok(_) if text.is_empty() => {}
                Ok(_) => taken += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(LINES.len() > 20 && taken > 20 && refused > 20, "{taken} {refused}");
    }
}
