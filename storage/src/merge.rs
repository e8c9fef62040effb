//! Several sorted sources of changes as one sorted stream of rows: newer sources hide older ones.

use crate::error::StorageError;
use crate::txn::{Row, Rows};
use bytes::Bytes;

/// A row or, where the value is None, the removal of a row.
pub(crate) type Change = (Bytes, Option<Bytes>);

/// Changes of one source, ascending by key, at most one for each key.
pub(crate) type Changes<'a> = Box<dyn Iterator<Item = Result<Change, StorageError>> + 'a>;

/// Merges sources, newest first; removed rows are left out.
pub(crate) fn merge<'a>(sources: Vec<Changes<'a>>) -> Rows<'a> {
    Box::new(Merge { sources: sources.into_iter().map(Iterator::peekable).collect() })
}

struct Merge<'a> {
    sources: Vec<std::iter::Peekable<Changes<'a>>>,
}

impl Iterator for Merge<'_> {
    type Item = Result<Row, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut smallest: Option<Bytes> = None;
            for source in &mut self.sources {
                match source.peek() {
                    None => {}
                    Some(Err(_)) => return source.next().map(|failed| failed.map(no_row)),
                    Some(Ok((key, _))) if smallest.as_ref().is_none_or(|least| key < least) => {
                        smallest = Some(key.clone());
                    }
                    Some(Ok(_)) => {}
                }
            }
            let key = smallest?;
            if let Some(row) = self.take(&key) {
                return Some(Ok(row));
            }
        }
    }
}

impl Merge<'_> {
    /// Takes `key` from every source that has it; the newest decides.
    fn take(&mut self, key: &Bytes) -> Option<Row> {
        let mut newest: Option<Option<Bytes>> = None;
        for source in &mut self.sources {
            if let Some(Ok((_, value))) =
                source.next_if(|change| change.as_ref().is_ok_and(|change| change.0 == key))
            {
                newest = newest.or(Some(value));
            }
        }
        newest.flatten().map(|value| (key.clone(), value))
    }
}

fn no_row(_: Change) -> Row {
    unreachable!("only errors are passed through")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(changes: &[(&'static str, Option<&'static str>)]) -> Changes<'static> {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let changes: Vec<_> =
            changes.iter().map(|(key, value)| Ok((bytes(key), value.map(bytes)))).collect();
        Box::new(changes.into_iter())
    }

    #[test]
    fn newer_sources_hide_older_ones() {
        let new = source(&[("a", Some("1")), ("c", None), ("e", Some("5"))]);
        let old = source(&[("a", Some("0")), ("b", Some("2")), ("c", Some("3")), ("d", None)]);
        let rows: Vec<_> = merge(vec![new, old]).map(Result::unwrap).collect();
        let text: Vec<_> = rows
            .iter()
            .map(|(key, value)| format!("{}={}", key.escape_ascii(), value.escape_ascii()))
            .collect();
        assert_eq!(text, ["a=1", "b=2", "e=5"]);
    }

    #[test]
    fn an_error_of_any_source_comes_through() {
        let bad: Changes<'_> =
            Box::new(std::iter::once(Err(StorageError::Corrupt("test".to_owned()))));
        let mut rows = merge(vec![source(&[("a", Some("1"))]), bad]);
        assert!(rows.next().is_some_and(|row| row.is_err()));
    }
}
