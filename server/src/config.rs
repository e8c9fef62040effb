//! Settings: one table, four sources, one typed view.
//!
//! Defaults < TOML file < environment (`KVORUM_MAXCLIENTS=100`) < command line < CONFIG SET. An
//! unknown name is an error that names the nearest one. Hot paths read [`Settings::load`]; whoever
//! must act on a change awaits [`Settings::changes`]. Deliberately absent: sections, includes, and
//! a way to write the file back.

mod error;
mod kind;
mod setting;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use error::{ConfigError, SetError, Source};
pub use kind::{Kind, parse_memory, show_memory};
pub use setting::Setting;
pub use table::SETTINGS;
pub use values::*;

use crate::commands::glob::Glob;
use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use storage::mutants::is_for_mutants;
use tokio::sync::watch;

/// What the environment variables of settings start with.
pub const ENVIRONMENT_PREFIX: &str = "KVORUM_";

/// The values of all settings, shared by the whole node.
pub struct Settings {
    values: ArcSwap<Values>,
    sources: Mutex<BTreeMap<&'static str, Source>>,
    generation: watch::Sender<u64>,
    agree: OnceLock<Agree>,
}

/// Acts on values that are about to be current because these settings are set (none: as they are),
/// or says why it cannot.
pub type Agree =
    Box<dyn Fn(&Values, &BTreeSet<&'static str>) -> Result<(), Disagreement> + Send + Sync>;

/// Why values cannot become current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Starts the names of the settings that it is about.
    pub prefix: &'static str,
    /// As CONFIG SET replies.
    pub reason: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Settings::new(defaults(), BTreeMap::new())
    }
}

impl Settings {
    fn new(values: Values, sources: BTreeMap<&'static str, Source>) -> Self {
        let generation = watch::Sender::new(0);
        Self {
            values: ArcSwap::from_pointee(values),
            sources: Mutex::new(sources),
            generation,
            agree: OnceLock::new(),
        }
    }

    /// Reads all sources. `environment` may hold variables of others; `flags` are names with
    /// values, in the order of the command line.
    pub fn from_sources(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut given: Vec<(Source, String, String)> = Vec::new();
        if let Some(path) = file {
            let pairs = read_file(path)?;
            given.extend(pairs.into_iter().map(|(name, value)| (Source::File, name, value)));
        }
        for (name, value) in environment {
            // Of others nothing is looked at, whatever bytes they hold.
            let Some(name) = name.to_str().filter(|name| !is_for_mutants(name)) else { continue };
            if let Some(own) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                // Without its value, which may be a password.
                let value = value.into_string().map_err(|_| ConfigError::NoText(name.to_owned()));
                let own = own.to_ascii_lowercase().replace('_', "-");
                given.push((Source::Environment, own, value?));
            }
        }
        let flags = flags.iter().cloned();
        given.extend(flags.map(|(name, value)| (Source::Flag, name, value)));

        let mut values = defaults();
        let mut sources = BTreeMap::new();
        for (source_, name, text) in given {
            let setting = find(&name).ok_or_else(|| ConfigError::Unknown {
                nearest: nearest(&name),
                name,
                source_,
            })?;
            let parsed = setting.kind.parse(&mut values, &text);
            let invalid = |reason| ConfigError::Invalid { name: setting.name, reason, source_ };
            parsed.map_err(invalid)?;
            sources.insert(setting.name, source_);
        }
        check(&values).map_err(ConfigError::Contradiction)?;
        Ok(Settings::new(values, sources))
    }

    /// The current values. Keep the guard for one request, not longer.
    pub fn load(&self) -> Guard<Arc<Values>> {
        self.values.load()
    }

    /// A receiver that is notified after each CONFIG SET.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Where the value of `setting` comes from.
    pub fn source(&self, setting: &Setting) -> Source {
        self.sources.lock().get(setting.name).copied().unwrap_or(Source::Default)
    }

    /// CONFIG GET: names and values of what is asked for. A plain name is repeated as it was given; a
    /// glob pattern finds every name it matches, aliases included. No name is there twice.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(String, String)> {
        let values = self.load();
        let mut found: Vec<(String, String)> = Vec::new();
        let mut add = |name: &str, setting: &Setting| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.to_owned(), setting.kind.show(&values)));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                let name = String::from_utf8_lossy(pattern);
                if let Some(setting) = find(&name) {
                    add(&name, setting);
                }
                continue;
            }
            let glob = Glob::new(&pattern.to_ascii_lowercase());
            for setting in all() {
                let names = [Some(setting.name), setting.alias].into_iter().flatten();
                names
                    .filter(|name| glob.matches(name.as_bytes()))
                    .for_each(|name| add(name, setting));
            }
        }
        found
    }

    /// CONFIG SET: changes all of the settings given, or none.
    pub fn set(&self, pairs: &[(&str, &str)]) -> Result<(), SetError> {
        let mut sources = self.sources.lock();
        let mut values = Values::clone(&self.load());
        let mut seen = BTreeSet::new();
        for (name, _) in pairs {
            // As Redis prints it: up to a NUL byte.
            let shown = || name.split('\0').next().unwrap_or_default().to_owned();
            let setting = find(name).ok_or_else(|| SetError::Unknown(shown()))?;
            let refused = |reason: &str| Err(refused(name, reason));
            if !setting.mutable {
                return refused("can't set immutable config");
            }
            if !seen.insert(setting.name) {
                return refused("duplicate parameter");
            }
        }
        for (name, text) in pairs {
            let Some(setting) = find(name) else { continue };
            let parsed = setting.kind.parse(&mut values, text);
            parsed.map_err(|reason| refused(name, &reason))?;
        }
        let last = pairs.last().map_or("", |(name, _)| name);
        check(&values).map_err(|reason| refused(last, &reason))?;
        if let Some(agree) = self.agree.get()
            && let Err(Disagreement { prefix, reason }) = agree(&values, &seen)
        {
            let concerned = |name: &&str| name.to_ascii_lowercase().starts_with(prefix);
            let name = pairs.iter().map(|(name, _)| *name).find(concerned);
            return Err(refused(name.unwrap_or(last), reason));
        }
        self.values.store(Arc::new(values));
        sources.extend(seen.into_iter().map(|name| (name, Source::Runtime)));
        self.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Has `agree` asked before CONFIG SET changes anything; it is the last that can refuse. Once.
    pub fn ask_before_change(&self, agree: Agree) {
        assert!(self.agree.set(agree).is_ok(), "only one is asked");
    }

    /// Asks again whether the current values can be acted on, as if they were set anew.
    pub fn ask_again(&self, names: &BTreeSet<&'static str>) -> Result<(), Disagreement> {
        // No change meanwhile.
        let _sources = self.sources.lock();
        self.agree.get().map_or(Ok(()), |agree| agree(&self.load(), names))
    }

    /// All settings as a configuration file, each with its meaning, bounds and source; secrets are
    /// left out.
    pub fn to_toml(&self) -> String {
        let values = self.load();
        let mut text = String::new();
        for setting in all() {
            text.push_str(&describe(setting));
            let name = setting.name;
            if matches!(setting.kind, Kind::Fixed { .. } | Kind::Derived { .. }) {
                text.push_str(&format!("# {name} = {:?}\n\n", setting.kind.show(&values)));
                continue;
            }
            let value = if setting.secret { String::new() } else { setting.kind.show(&values) };
            let value = toml::Value::String(value);
            text.push_str(&format!("# from: {}\n{name} = {value}\n\n", self.source(setting)));
        }
        text
    }
}

/// A configuration file with every setting at its default.
pub fn sample_toml() -> String {
    Settings::default().to_toml()
}

/// Every setting, in table order.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().flat_map(|theme| theme.iter())
}

/// The setting of this name or alias, in any case.
pub fn find(name: &str) -> Option<&'static Setting> {
    let named = |known: &str| known.eq_ignore_ascii_case(name);
    all().find(|setting| named(setting.name) || setting.alias.is_some_and(named))
}

fn defaults() -> Values {
    let mut values = Values::blank();
    for setting in all().filter(|setting| !matches!(setting.kind, Kind::Derived { .. })) {
        let parsed = setting.kind.parse(&mut values, setting.default);
        parsed.expect("a test parses every default of the table");
    }
    values
}

/// What the bounds of single settings cannot say.
fn check(values: &Values) -> Result<(), String> {
    let (min, max) = (values.election_timeout_min_ms, values.election_timeout_max_ms);
    if min >= max {
        return Err("election-timeout-min-ms must be less than election-timeout-max-ms".into());
    }
    if min <= max / 2 + values.heartbeat_interval_ms {
        // Half of the longest silence is a lease on which nobody asks for votes.
        let rule = "must be more than half of election-timeout-max-ms plus heartbeat-interval-ms";
        return Err(format!("election-timeout-min-ms {rule}"));
    }
    let (_, port) = values.listen_address();
    let base = if values.plain_is_off() { values.tls_port as u16 } else { port };
    if values.peer_listen.is_empty() && base.checked_add(PEER_PORT_OFFSET).is_none() {
        return Err("the port of 'listen' plus 10000 is no port: set peer-listen".into());
    }
    if values.tls_port != 0 && values.tls_port == u64::from(port) {
        return Err(
            "tls-port is the port of 'listen': give port 0 to 'listen' to serve TLS only".into()
        );
    }
    let joins = !values.join_addresses().is_empty();
    if joins && values.joins_by_tls() && !values.has_authorities() {
        return Err("join by TLS needs tls-ca-cert-file or tls-ca-cert-dir".into());
    }
    let (host, mut port) = values.advertise_address();
    if values.joins_by_tls() {
        port = values.announced_tls_port();
    }
    let mut nodes: BTreeSet<String> = values.join_addresses().into_iter().collect();
    nodes.insert(format!("{host}:{port}"));
    if values.bootstrap_expect > 0 && nodes.len() as u64 >= 2 * values.bootstrap_expect {
        // Two groups of that size could meet, and form two clusters.
        return Err("bootstrap-expect must be more than half of the nodes of 'join'".into());
    }
    if values.bootstrap_expect > 1 && values.join_addresses().is_empty() {
        return Err("bootstrap-expect of more than one node needs join".into());
    }
    Ok(())
}

fn refused(name: &str, reason: &str) -> SetError {
    SetError::Refused { name: name.to_owned(), reason: reason.to_owned() }
}

fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    // The parser's own rendering quotes the line, which may hold a password.
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        failed(format!("line {line}: {}", error.message()))
    })?;
    let pairs = table.into_iter().map(|(name, value)| {
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => if truth { "yes" } else { "no" }.to_owned(),
            toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            _ => {
                return Err(failed(format!("'{name}' must be text, a number, true or false")));
            }
        };
        Ok((name, text))
    });
    pairs.collect()
}

fn describe(setting: &Setting) -> String {
    let mut text = format!("# {}\n# {}", setting.doc, setting.kind.describe());
    if !setting.unit.is_empty() {
        text.push_str(&format!(", in {}", setting.unit));
    }
    let when = if setting.mutable { "CONFIG SET changes it" } else { "read at start" };
    text.push_str(&format!("; {when}\n"));
    text
}

/// The setting whose name is most like `name`, if any is.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let names = all().flat_map(|setting| [Some(setting.name), setting.alias]).flatten();
    let (distance, best) = names.map(|known| (edit_distance(&name, known), known)).min()?;
    (distance <= best.len().max(name.len()) / 2).then_some(best)
}

/// Levenshtein's distance: insertions, removals and replacements of bytes.
fn edit_distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, left) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
