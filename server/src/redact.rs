//! Which arguments are secrets, so that no list, feed or trace ever shows them.

use crate::config;
use protocol::Request;

/// What is shown instead of a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// Whether argument `position` of `request` is a secret, or belongs to one.
pub fn is_secret(request: &Request, position: usize) -> bool {
    let Some(name) = request.get(0).filter(|_| position > 0) else {
        return false;
    };
    let is = |text: &[u8], word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    if is(name, "auth") {
        return true;
    }
    if is(name, "hello") {
        // HELLO 3 AUTH user password [SETNAME name]: both are hidden, as Redis does.
        let before = (1..=2).filter_map(|back| position.checked_sub(back));
        return before.filter(|at| *at >= 2).any(|at| is(request.arg(at), "auth"));
    }
    if is(name, "acl") && position >= 2 {
        let hidden = ["setuser", "deluser", "getuser"];
        return request.get(1).is_some_and(|sub| hidden.into_iter().any(|word| is(sub, word)));
    }
    if is(name, "config") && request.get(1).is_some_and(|sub| is(sub, "set")) && position >= 3 {
        let setting = str::from_utf8(request.arg(position - 1)).ok().and_then(config::find);
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
        check("ACL LIST", "ACL LIST");
    }
}
