//! Counts replies in a stream of RESP2 or RESP3 bytes without building values.
//!
//! A load generator needs to know where each reply ends, of which type it is and whether it is an
//! error. Bodies of bulk strings are skipped, not copied; elements of arrays and maps are counted
//! down in one number, so nesting costs no memory. Chunks may end anywhere.
//!
//! Invariants: every top-level reply is reported exactly once and in order; pushes (`>`) and
//! attributes (`|`) are not replies and are never reported.
//!
//! Not done: UTF-8, number formats and streamed RESP3 types are not checked (`$?` is refused).

use std::fmt;

/// Longest header or one-line reply that is accepted, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What one top-level reply was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// `+OK`.
    Ok,
    /// A bulk string that exists.
    Bulk,
    /// `$-1`, `*-1` or `_`.
    Null,
    /// A signed 64-bit integer.
    Integer(i64),
    /// The text of an error, without the dash.
    Error(&'a [u8]),
    /// Any other well-formed reply.
    Other,
}

/// The stream is not RESP; the connection cannot be used further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server sent bytes that are no RESP reply")
    }
}

/// The kind of a top-level reply whose end has not been seen yet.
#[derive(Clone, Copy)]
enum Open {
    Bulk,
    Push,
    BlobError,
    Other,
}

/// The state between two chunks.
#[derive(Default)]
pub(crate) struct ReplyScanner {
    /// Start of a line whose end has not arrived.
    line: Vec<u8>,
    /// Bytes of a bulk body, its CRLF included, that are still to be skipped.
    skip: usize,
    /// Values that must still begin before the top-level reply is complete.
    values_left: u64,
    /// Set while a top-level reply is incomplete.
    open: Option<Open>,
}

impl ReplyScanner {
    /// Takes the next bytes of the stream and calls `on_reply` for each reply that ends in them.
    ///
    /// After [`Malformed`] the scanner must not be used again.
    pub(crate) fn feed(
        &mut self,
        mut chunk: &[u8],
        mut on_reply: impl FnMut(Reply<'_>),
    ) -> Result<(), Malformed> {
        while !chunk.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(chunk.len());
                self.skip -= skipped;
                chunk = &chunk[skipped..];
                if self.skip == 0 {
                    self.finish_value(&mut on_reply);
                }
                continue;
            }
            let Some(end) = chunk.iter().position(|&byte| byte == b'\n') else {
                return self.keep(chunk);
            };
            let (head, rest) = chunk.split_at(end + 1);
            chunk = rest;
            if self.line.is_empty() {
                self.take_line(head, &mut on_reply)?;
            } else {
                self.keep(head)?;
                let mut line = std::mem::take(&mut self.line);
                self.take_line(&line, &mut on_reply)?;
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }

    /// Stores the start of a line until its end arrives.
    fn keep(&mut self, part: &[u8]) -> Result<(), Malformed> {
        if self.line.len() + part.len() > LINE_BYTES_MAX {
            return Err(Malformed);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// Reads one line: a whole value, or the header of a bulk or of an aggregate.
    fn take_line(
        &mut self,
        line: &[u8],
        on_reply: &mut impl FnMut(Reply<'_>),
    ) -> Result<(), Malformed> {
        let Some((&kind, text)) = line.strip_suffix(b"\r\n").and_then(<[u8]>::split_first) else {
            return Err(Malformed);
        };
        let top_level = self.open.is_none();
        match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
                if top_level {
                    on_reply(one_line_reply(kind, text)?);
                } else {
                    self.values_left -= 1;
                    self.finish_value(on_reply);
                }
            }
            b'$' | b'=' | b'!' => match length(text)? {
                None if top_level => on_reply(Reply::Null),
                None => {
                    self.values_left -= 1;
                    self.finish_value(on_reply);
                }
                Some(bytes) => {
                    self.begin(if kind == b'!' { Open::BlobError } else { Open::Bulk });
                    self.skip = usize::try_from(bytes).map_err(|_| Malformed)?;
                    self.skip = self.skip.checked_add(2).ok_or(Malformed)?;
                }
            },
            b'*' | b'~' | b'%' | b'>' | b'|' => match length(text)? {
                None if top_level => on_reply(Reply::Null),
                None => {
                    self.values_left -= 1;
                    self.finish_value(on_reply);
                }
                Some(count) => {
                    let pairs = matches!(kind, b'%' | b'|');
                    let children = count.checked_mul(if pairs { 2 } else { 1 }).ok_or(Malformed)?;
                    self.begin(if kind == b'>' { Open::Push } else { Open::Other });
                    // An attribute comes before the value it describes, which is still to come.
                    let more = children.checked_add(u64::from(kind == b'|')).ok_or(Malformed)?;
                    self.values_left = self.values_left.checked_add(more).ok_or(Malformed)?;
                    self.finish_value(on_reply);
                }
            },
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// A value that does not end on its first line begins.
    fn begin(&mut self, kind: Open) {
        match self.open {
            None => self.open = Some(kind),
            Some(_) => self.values_left -= 1,
        }
    }

    /// A value has ended: reports the top-level reply when it was the last one.
    fn finish_value(&mut self, on_reply: &mut impl FnMut(Reply<'_>)) {
        if self.values_left > 0 {
            return;
        }
        match self.open.take() {
            Some(Open::Bulk) => on_reply(Reply::Bulk),
            Some(Open::Other) => on_reply(Reply::Other),
            Some(Open::BlobError) => on_reply(Reply::Error(b"BLOBERROR")),
            Some(Open::Push) | None => {}
        }
    }
}

/// The reply that a single line holds.
fn one_line_reply(kind: u8, text: &[u8]) -> Result<Reply<'_>, Malformed> {
    Ok(match kind {
        b'+' if text == b"OK" => Reply::Ok,
        b'-' => Reply::Error(text),
        b':' => {
            let digits = std::str::from_utf8(text).map_err(|_| Malformed)?;
            Reply::Integer(digits.parse().map_err(|_| Malformed)?)
        }
        b'_' => Reply::Null,
        _ => Reply::Other,
    })
}

/// The number after a `$`, `*` and the like; `None` for -1.
fn length(text: &[u8]) -> Result<Option<u64>, Malformed> {
    if text == b"-1" {
        return Ok(None);
    }
    let digits = std::str::from_utf8(text).map_err(|_| Malformed)?;
    digits.parse().map(Some).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(chunks: &[&[u8]]) -> Result<Vec<String>, Malformed> {
        let mut scanner = ReplyScanner::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            scanner.feed(chunk, |reply| {
                seen.push(match reply {
                    Reply::Error(text) => format!("Error({})", String::from_utf8_lossy(text)),
                    other => format!("{other:?}"),
                });
            })?;
        }
        Ok(seen)
    }

    /// The same replies must be reported however the stream is cut in two or into single bytes.
    #[track_caller]
    fn check(stream: &[u8], expected: &[&str]) {
        assert_eq!(kinds(&[stream]).unwrap(), expected);
        for cut in 0..=stream.len() {
            let (head, tail) = stream.split_at(cut);
            assert_eq!(kinds(&[head, tail]).unwrap(), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(kinds(&bytes).unwrap(), expected, "byte by byte");
    }

    #[test]
    fn replies_of_one_line() {
        check(b"+OK\r\n+PONG\r\n:-12\r\n", &["Ok", "Other", "Integer(-12)"]);
        check(
            b"-MOVED 3 a:1\r\n_\r\n#t\r\n,1.5\r\n",
            &["Error(MOVED 3 a:1)", "Null", "Other", "Other"],
        );
    }

    #[test]
    fn bulk_bodies_are_skipped_even_when_they_look_like_replies() {
        check(b"$5\r\n+OK\r\n\r\n$0\r\n\r\n$-1\r\n+OK\r\n", &["Bulk", "Bulk", "Null", "Ok"]);
        check(b"=7\r\ntxt:abc\r\n!3\r\nERR\r\n", &["Bulk", "Error(BLOBERROR)"]);
    }

    #[test]
    fn aggregates_count_as_one_reply() {
        check(b"*0\r\n*-1\r\n", &["Other", "Null"]);
        check(b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n*0\r\n+OK\r\n", &["Other", "Ok"]);
        check(b"%2\r\n+a\r\n*1\r\n$-1\r\n+b\r\n%0\r\n:7\r\n", &["Other", "Integer(7)"]);
        check(b"*1\r\n-ERR inside\r\n+OK\r\n", &["Other", "Ok"]);
    }

    #[test]
    fn pushes_and_attributes_are_no_replies() {
        check(b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n+OK\r\n", &["Ok"]);
        check(b"|1\r\n+ttl\r\n:3\r\n*1\r\n:1\r\n:5\r\n", &["Other", "Integer(5)"]);
    }

    #[test]
    fn what_is_no_resp_is_refused() {
        for stream in
            [&b"OK\r\n"[..], b"+OK\n", b"$x\r\n", b"*-2\r\n", b":\r\n", b"\r\n", b"$?\r\n"]
        {
            assert_eq!(kinds(&[stream]), Err(Malformed), "{stream:?}");
        }
        let endless = vec![b'+'; LINE_BYTES_MAX + 1];
        assert_eq!(kinds(&[&endless]), Err(Malformed));
    }
}
