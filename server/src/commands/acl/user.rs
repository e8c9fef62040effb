//! A user: whether it may log in, how it proves who it is, and what it may do.
//!
//! A user's text, as ACL LIST prints it, is also the form in which it is stored: rules that lead
//! from a new user to this one. Passwords are kept as SHA-256 only.

use super::selector::{Denied, Selector};
use crate::commands::error::CommandError;
use crate::commands::spec::CommandSpec;
use crate::commands::words::{is_word, printable};
use protocol::Request;
use sha2::{Digest, Sha256};

/// The user of connections that named none.
pub const DEFAULT_USER: &[u8] = b"default";

/// Hexadecimal digits of a password's SHA-256.
const HASH_DIGITS: usize = 64;

/// What is wrong with a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is none.
    #[error("Syntax error")]
    Syntax,
    /// Its command or category does not exist.
    #[error("Unknown command or category name in ACL")]
    Unknown,
    /// It names an argument of a subcommand.
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
    /// Its hash is none.
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal \
         characters"
    )]
    Hash,
    /// Its password is not there.
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    /// It adds to all keys.
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not \
         have any effect. Try 'resetkeys' to start with an empty list of patterns"
    )]
    KeysAfterAll,
    /// It adds to all channels.
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does \
         not have any effect. Try 'resetchannels' to start with an empty list of channels"
    )]
    ChannelsAfterAll,
}

impl RuleError {
    /// Whether it depends on what the user is, not on the rule alone.
    pub(super) fn depends_on_user(self) -> bool {
        use RuleError::{ChannelsAfterAll, KeysAfterAll, NoSuchPassword};
        matches!(self, NoSuchPassword | KeysAfterAll | ChannelsAfterAll)
    }

    /// As the reply of ACL SETUSER.
    pub(super) fn reply(self, rule: &[u8]) -> CommandError {
        let rule = printable(rule);
        CommandError::text(format!("ERR Error in ACL SETUSER modifier '{rule}': {self}"))
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    enabled: bool,
    no_password: bool,
    /// RESTORE's check of payloads; kept for listings, as nothing here reads payloads.
    sanitize: Option<bool>,
    passwords: Vec<String>,
    root: Selector,
    selectors: Vec<Selector>,
}

impl User {
    /// A new user: off, without a password, allowed nothing.
    pub fn nobody() -> Self {
        User {
            enabled: false,
            no_password: false,
            sanitize: None,
            passwords: Vec::new(),
            root: Selector::nothing(),
            selectors: Vec::new(),
        }
    }

    /// The default user as it is until it is changed: everything, with `password` or none.
    pub fn everybody(password: &str) -> Self {
        let mut user = User { enabled: true, no_password: true, ..User::nobody() };
        for rule in ["+@all", "~*", "&*"] {
            user.root.apply(rule.as_bytes()).expect("a rule that every version knows");
        }
        if !password.is_empty() {
            user.no_password = false;
            user.passwords.push(hash(password.as_bytes()));
        }
        user
    }

    /// Reads a user's text: rules parted by spaces, none of which may be unknown.
    pub fn parse(text: &[u8]) -> Result<Self, RuleError> {
        let mut user = User::nobody();
        let words: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
        for rule in merge(&words).map_err(|_| RuleError::Syntax)? {
            user.apply(&rule)?;
        }
        Ok(user)
    }

    /// Changes it by one rule.
    pub(super) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word| is_word(rule, word);
        match rule {
            [] => {}
            _ if is("on") => self.enabled = true,
            _ if is("off") => self.enabled = false,
            _ if is("nopass") => (self.no_password, self.passwords) = (true, Vec::new()),
            _ if is("resetpass") => (self.no_password, self.passwords) = (false, Vec::new()),
            _ if is("skip-sanitize-payload") => self.sanitize = Some(false),
            _ if is("sanitize-payload") => self.sanitize = Some(true),
            _ if is("clearselectors") => self.selectors.clear(),
            _ if is("reset") => *self = User { sanitize: Some(true), ..User::nobody() },
            [b'>' | b'#', ..] => {
                let hash = hash_of(rule)?;
                if !self.passwords.contains(&hash) {
                    self.passwords.push(hash);
                }
                self.no_password = false;
            }
            [b'<' | b'!', ..] => {
                let hash = hash_of(rule)?;
                let known = self.passwords.iter().position(|known| *known == hash);
                self.passwords.remove(known.ok_or(RuleError::NoSuchPassword)?);
            }
            [b'(', inner @ .., b')'] => self.selectors.push(Selector::parse(inner)?),
            _ => self.root.apply(rule)?,
        }
        Ok(())
    }

    /// Whether nothing is forbidden to it.
    pub fn has_all_rights(&self) -> bool {
        self.root.allows_everything()
    }

    /// Whether whoever connects is this user without proof.
    pub fn is_open(&self) -> bool {
        self.enabled && self.no_password
    }

    /// Whether every password is right.
    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    /// Whether `password` proves that a client is this user. What is compared are hashes, so the
    /// time it takes tells nothing of a password.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let hash = hash(password);
        self.enabled && (self.no_password || self.passwords.contains(&hash))
    }

    /// Checks a request, each selector for itself. Of several reasons the last key is given.
    pub fn check(&self, spec: &'static CommandSpec, request: &Request) -> Result<(), Denied> {
        let mut denied = Denied::Command;
        for selector in std::iter::once(&self.root).chain(&self.selectors) {
            match selector.check(spec, request) {
                Ok(()) => return Ok(()),
                Err(why) => denied = denied.max(why),
            }
        }
        Err(denied)
    }

    /// The words that GETUSER calls flags.
    pub(super) fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        flags.extend(self.no_password.then_some("nopass"));
        flags.extend(self.sanitize.map(|on| match on {
            true => "sanitize-payload",
            false => "skip-sanitize-payload",
        }));
        flags
    }

    /// Its passwords, as SHA-256 in hexadecimal digits.
    pub(super) fn passwords(&self) -> &[String] {
        &self.passwords
    }

    /// What it may do beyond its selectors.
    pub(super) fn root(&self) -> &Selector {
        &self.root
    }

    /// Its selectors.
    pub(super) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// As ACL LIST prints it, less its name.
    pub fn describe(&self) -> Vec<u8> {
        let mut text = self.flags().join(" ").into_bytes();
        for password in &self.passwords {
            text.extend_from_slice(b" #");
            text.extend_from_slice(password.as_bytes());
        }
        text.push(b' ');
        text.extend(self.root.describe());
        for selector in &self.selectors {
            text.extend_from_slice(b" (");
            text.extend(selector.describe());
            text.push(b')');
        }
        text
    }
}

/// Joins the words of each selector in parentheses; `Err` is the word that opens one without end.
pub(super) fn merge<'a>(words: &[&'a [u8]]) -> Result<Vec<Vec<u8>>, &'a [u8]> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(&'a [u8], Vec<u8>)> = None;
    for word in words {
        open = match open.take() {
            None if word.first() == Some(&b'(') && word.last() != Some(&b')') => {
                Some((*word, word.to_vec()))
            }
            None => {
                merged.push(word.to_vec());
                None
            }
            Some((start, mut text)) => {
                text.push(b' ');
                text.extend_from_slice(word);
                if word.last() == Some(&b')') {
                    merged.push(text);
                    None
                } else {
                    Some((start, text))
                }
            }
        };
    }
    open.map_or(Ok(merged), |(start, _)| Err(start))
}

/// SHA-256 of a password, in hexadecimal digits.
pub(super) fn hash(password: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(HASH_DIGITS);
    for byte in Sha256::digest(password) {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

/// The hash that a rule on passwords means.
fn hash_of(rule: &[u8]) -> Result<String, RuleError> {
    let given = &rule[1..];
    if matches!(rule[0], b'>' | b'<') {
        return Ok(hash(given));
    }
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match given.len() == HASH_DIGITS && given.iter().all(is_digit) {
        true => Ok(String::from_utf8_lossy(given).into_owned()),
        false => Err(RuleError::Hash),
    }
}
