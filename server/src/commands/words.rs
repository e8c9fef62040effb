//! Words and waits among arguments: comparison without case, timeouts, text fit for error replies.

use crate::commands::error::CommandError;
use crate::commands::numbers::parse_i64;
use protocol::Reply;

/// Whether `arg` is `word`, in any case.
pub fn is_word(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// `arg` as text for an error reply: up to its first zero byte, line ends as spaces. Bytes that are
/// no UTF-8 become U+FFFD where Redis repeats them: every client can read an error as text.
pub fn printable(arg: &[u8]) -> String {
    let end = arg.iter().position(|byte| *byte == 0).unwrap_or(arg.len());
    String::from_utf8_lossy(&arg[..end]).replace(['\r', '\n'], " ")
}

/// As [`printable`], where it ends the error: Redis cuts line ends off there.
pub fn printable_at_the_end(arg: &[u8]) -> String {
    let end = arg.iter().position(|byte| *byte == 0).unwrap_or(arg.len());
    let len = arg[..end].iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |at| at + 1);
    printable(&arg[..len])
}

/// What `<CONTAINER> HELP` answers; HELP itself is added.
pub fn help(container: &str, lines: &[&'static str]) -> Reply {
    let first = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let mut reply = vec![Reply::Simple(first.into())];
    reply.extend(
        lines.iter().chain(&["HELP", "    Prints this help."]).map(|line| Reply::simple(line)),
    );
    Reply::Array(reply)
}

/// The error for a subcommand whose arguments do not fit.
pub fn subcommand_syntax(container: &str, subcommand: &[u8]) -> Reply {
    let name = printable(subcommand);
    let what = "unknown subcommand or wrong number of arguments for";
    Reply::error(format!("ERR {what} '{name}'. Try {container} HELP."))
}

/// A timeout in milliseconds, with Redis's errors.
pub fn timeout_ms(arg: &[u8]) -> Result<u64, CommandError> {
    let timeout = parse_i64(arg)
        .ok_or_else(|| CommandError::text("ERR timeout is not an integer or out of range"))?;
    u64::try_from(timeout).map_err(|_| CommandError::text("ERR timeout is negative"))
}

/// Redis's `ERR syntax error`.
pub const SYNTAX: Reply = Reply::Error(std::borrow::Cow::Borrowed("ERR syntax error"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_hold_no_line_ends() {
        assert_eq!(printable(b"a\r\nb\0c"), "a  b");
        assert_eq!(printable_at_the_end(b"a\r\nb\r\n\0c"), "a  b");
        assert_eq!(printable_at_the_end(b"\r\n"), "");
        assert!(is_word(b"GeT", "get") && !is_word(b"gets", "get"));
    }
}
