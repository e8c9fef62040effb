//! ACL categories of commands, as COMMAND INFO prints them.
//!
//! Most follow from the rest of a declaration. From flags: `@write`, `@read` (READONLY), `@admin`
//! with `@dangerous` (ADMIN), `@blocking`, and `@fast` or `@slow`. From the group: `@string`,
//! `@keyspace` (generic commands), `@connection`, `@transaction`; but not for containers, and not
//! where `categories` names another category of that kind (WAIT is generic and `@connection`).
//! What remains is written in [`CommandSpec::categories`], each with its `@`.

use crate::commands::spec::{CommandSpec, Flags, Group, Run};

/// Every category that a command here can have, in Redis's order.
const ORDER: [&str; 11] = [
    "@keyspace",
    "@read",
    "@write",
    "@string",
    "@admin",
    "@fast",
    "@slow",
    "@blocking",
    "@dangerous",
    "@connection",
    "@transaction",
];

/// Those of them that say what a command is about.
const THEMES: [&str; 4] = ["@keyspace", "@string", "@connection", "@transaction"];

/// The categories of a command or subcommand, in Redis's order.
pub fn acl_categories(spec: &CommandSpec) -> Vec<&'static str> {
    let flags = spec.flags;
    let implied = |category: &str| match category {
        "@read" => flags.has(Flags::READONLY),
        "@write" => flags.has(Flags::WRITE),
        "@admin" | "@dangerous" => flags.has(Flags::ADMIN),
        "@fast" => flags.has(Flags::FAST),
        "@slow" => !flags.has(Flags::FAST),
        "@blocking" => flags.has(Flags::BLOCKING),
        theme => theme_of_group(spec) == Some(theme),
    };
    let named = |category: &str| spec.categories.contains(&category);
    ORDER.into_iter().filter(|category| named(category) || implied(category)).collect()
}

fn theme_of_group(spec: &CommandSpec) -> Option<&'static str> {
    let elsewhere = spec.categories.iter().any(|category| THEMES.contains(category));
    if elsewhere || matches!(spec.run, Run::Container) {
        return None;
    }
    match spec.group {
        Group::Generic => Some("@keyspace"),
        Group::String => Some("@string"),
        Group::Transactions => Some("@transaction"),
        Group::Connection => Some("@connection"),
        Group::Server | Group::Cluster | Group::Raft => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_theme_replaces_that_of_the_group() {
        fn unused(
            _: &crate::commands::context::ReadContext<'_>,
            _: &protocol::Request,
        ) -> crate::commands::error::Outcome {
            Ok(protocol::Reply::OK)
        }
        let spec = CommandSpec {
            categories: &["@connection"],
            run: Run::Read(unused),
            ..CommandSpec::TEMPLATE
        };
        assert_eq!(acl_categories(&spec), ["@slow", "@connection"]);
        let spec = CommandSpec { categories: &["@dangerous"], ..spec };
        assert_eq!(acl_categories(&spec), ["@keyspace", "@slow", "@dangerous"]);
        let spec = CommandSpec { flags: Flags::ADMIN.and(Flags::FAST), ..CommandSpec::TEMPLATE };
        assert_eq!(acl_categories(&spec), ["@admin", "@fast", "@dangerous"]);
    }

    #[test]
    fn named_categories_exist_and_are_not_implied_already() {
        fn check(spec: &CommandSpec) {
            let bare = CommandSpec { categories: &[], ..*spec };
            for category in spec.categories {
                let name = spec.name;
                assert!(ORDER.contains(category), "{name}: {category}");
                assert!(!acl_categories(&bare).contains(category), "{name}: {category}");
            }
            spec.subcommands.iter().for_each(check);
        }
        crate::commands::all().for_each(check);
    }
}
