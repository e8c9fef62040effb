//! Which arguments are secrets, so that no list, feed or trace ever shows them.

use crate::config;
use protocol::Request;

/// What is shown instead of a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// Whether argument `position` of `request` is a secret, or belongs to one.
pub fn is_secret(request: &Request, position: usize) -> bool {
    is_secret_of(request, 0, position)
}

/// The same for the request that begins with argument `start`: some have one within.
fn is_secret_of(request: &Request, start: usize, position: usize) -> bool {
    let at = |position: usize| request.get(start + position);
    let Some(name) = at(0).filter(|_| position > 0) else {
        return false;
    };
    let is = |text: &[u8], word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    if is(name, "auth") {
        return true;
    }
    if is(name, "hello") {
        // HELLO 3 AUTH user password [SETNAME name]: both are hidden, as Redis does, also where the
        // version was forgotten.
        let before = (1..=2).filter_map(|back| position.checked_sub(back));
        return before.filter(|at| *at >= 1).filter_map(at).any(|word| is(word, "auth"));
    }
    let is_sub = |words: &[&str]| {
        at(1).is_some_and(|sub| position >= 2 && words.iter().any(|word| is(sub, word)))
    };
    let within = match () {
        () if is(name, "acl") && is_sub(&["dryrun"]) => Some(3),
        () if is(name, "command") && is_sub(&["getkeys", "getkeysandflags"]) => Some(2),
        () => None,
    };
    if let Some(offset) = within {
        // Once: what tries to try has no end, and all of it is hidden.
        let inner = || is_secret_of(request, start + offset, position - offset);
        return position >= offset && (start > 0 || inner());
    }
    if is(name, "acl") {
        return is_sub(&["setuser", "deluser", "getuser"]);
    }
    if is(name, "config") && at(1).is_some_and(|sub| is(sub, "set")) && position >= 3 {
        let setting = at(position - 1).and_then(|name| str::from_utf8(name).ok());
        let setting = setting.and_then(config::find);
        return position % 2 == 1 && setting.is_some_and(|setting| setting.secret);
    }
    false
}

/// The arguments of `request` with its secrets replaced.
pub fn shown(request: &Request) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
    let show = |(position, arg)| {
        if is_secret(request, position) { REDACTED } else { arg }
    };
    request.iter().enumerate().map(show)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let parts: Vec<&str> = line.split(' ').collect();
        let request = Request::from_parts(&parts);
        let shown: Vec<_> = shown(&request).map(String::from_utf8_lossy).collect();
        assert_eq!(shown.join(" "), expected);
    }

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        check("AUTH hush", "AUTH (redacted)");
        check("auth user hush", "auth (redacted) (redacted)");
        check("HELLO 3 AUTH u p SETNAME n", "HELLO 3 AUTH (redacted) (redacted) SETNAME n");
        check("HELLO 3 SETNAME auth", "HELLO 3 SETNAME auth");
        check("CONFIG SET requirepass hush", "CONFIG SET requirepass (redacted)");
        check(
            "config set timeout 1 RequirePass hush",
            "config set timeout 1 RequirePass (redacted)",
        );
        check("CONFIG GET requirepass", "CONFIG GET requirepass");
        check("SET auth hush", "SET auth hush");
        check("acl SetUser joe on >hush", "acl SetUser (redacted) (redacted) (redacted)");
        check("HELLO AUTH u p", "HELLO AUTH (redacted) (redacted)");
        check("COMMAND GETKEYS AUTH hush", "COMMAND GETKEYS AUTH (redacted)");
        let inner = "command GetKeysAndFlags ACL SETUSER";
        check(&format!("{inner} joe >hush"), &format!("{inner} (redacted) (redacted)"));
        check("COMMAND GETKEYS SET k v", "COMMAND GETKEYS SET k v");
        check("COMMAND DOCS auth hush", "COMMAND DOCS auth hush");
        check("ACL LIST", "ACL LIST");
        check("ACL DRYRUN joe AUTH hush", "ACL DRYRUN joe AUTH (redacted)");
        check("acl dryrun auth GET hush", "acl dryrun auth GET hush");
        check(
            "ACL DRYRUN joe HELLO 3 AUTH u p",
            "ACL DRYRUN joe HELLO 3 AUTH (redacted) (redacted)",
        );
        let twice = "ACL DRYRUN a ACL DRYRUN b (redacted) (redacted)";
        check("ACL DRYRUN a ACL DRYRUN b AUTH p", twice);
        let deep = Request::from_parts(&["ACL", "DRYRUN", "a"].repeat(300_000));
        assert_eq!(shown(&deep).filter(|arg| *arg == REDACTED).count(), 900_000 - 6);
        check(
            "ACL DRYRUN joe CONFIG SET requirepass hush",
            "ACL DRYRUN joe CONFIG SET requirepass (redacted)",
        );
    }
}
