//! The command table: declarations agree with themselves and, where it is asked for, with Redis.

mod arguments;
mod redis;

use super::spec::{Arity, CommandSpec, Flags, Keys, Run};
use super::syntax::{self, Argument};
use protocol::Request;
use std::collections::BTreeSet;

/// Calls `visit` with every command and subcommand, and with its full name.
fn each(mut visit: impl FnMut(&str, &'static CommandSpec)) {
    for spec in super::all() {
        visit(spec.name, spec);
        for subcommand in spec.subcommands {
            visit(&format!("{}|{}", spec.name, subcommand.name), subcommand);
        }
    }
}

#[test]
fn names_are_lower_case_and_each_is_found() {
    let mut names = BTreeSet::new();
    each(|name, spec| {
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        assert!(!spec.name.is_empty() && spec.name == spec.name.to_ascii_lowercase(), "{name}");
    });
    for spec in super::all() {
        let found = super::lookup(spec.name.to_ascii_uppercase().as_bytes());
        assert!(found.is_some_and(|found| std::ptr::eq(found, spec)), "{}", spec.name);
    }
}

#[test]
fn summaries_are_sentences() {
    each(|name, spec| {
        let first = spec.summary.chars().next();
        assert!(first.is_some_and(char::is_uppercase), "{name}");
        assert!(spec.summary.ends_with('.') && !spec.summary.contains('\n'), "{name}");
    });
}

#[test]
fn arity_agrees_with_syntax() {
    each(|name, spec| {
        let words: Vec<_> = name.split('|').map(str::to_ascii_uppercase).collect();
        assert!(spec.syntax.starts_with(&words.join(" ")), "{name}: {}", spec.syntax);
        let arguments = syntax::arguments(spec.syntax, words.len());
        let least = words.len() + arguments.iter().map(Argument::words_min).sum::<usize>();
        let fixed = arguments.iter().all(Argument::is_fixed);
        let agrees = match spec.arity {
            Arity::Exactly(count) => least == count && fixed,
            // Of some commands Redis counts no further than the name, and parses the rest itself.
            Arity::AtLeast(count) if count == words.len() => true,
            Arity::AtLeast(count) => least == count && (!fixed || !spec.subcommands.is_empty()),
        };
        assert!(agrees, "{name}: {} but {:?}", spec.syntax, spec.arity);
    });
}

#[test]
fn costs_are_stated_and_only_unlimited_commands_have_none() {
    each(|name, spec| assert_eq!(spec.docs.complexity.is_empty(), name == "monitor", "{name}"));
}

#[test]
fn keys_are_arguments_that_every_request_has() {
    each(|name, spec| {
        let least = match spec.arity {
            Arity::Exactly(count) | Arity::AtLeast(count) => count,
        };
        if let Keys::Range { first, last, step } = spec.keys {
            assert!((1..least).contains(&first) && step > 0, "{name}");
            assert!(last < least as isize && (last < 0 || last >= first as isize), "{name}");
        }
        let request = Request::from_parts(&vec!["x"; least]);
        spec.keys.positions(&request, |position| assert!(position < least, "{name}"));
    });
}

#[test]
fn flags_agree_with_what_a_command_does() {
    each(|name, spec| {
        let (write, read) = (spec.flags.has(Flags::WRITE), spec.flags.has(Flags::READONLY));
        assert!(!(write && read), "{name}");
        match spec.run {
            Run::Write { .. } => assert!(write || spec.flags.has(Flags::CHANGES_USERS), "{name}"),
            Run::Read(_) | Run::Scan(_) => assert!(!write, "{name}"),
            Run::Container => assert!(!spec.subcommands.is_empty(), "{name}"),
            Run::Session(_) | Run::Node(_) | Run::Exec | Run::Watch => assert!(!write, "{name}"),
        }
    });
}
