//! Deadlines: from the arguments of SET, GETEX, EXPIRE and their kin to the record.
//!
//! A deadline that has come at the time of the log entry removes the key at once.

use crate::commands::context::WriteContext;
use crate::commands::error::CommandError;
use storage::StorageError;
use storage::keyspace::{Found, Loaded};

/// How a number names a moment; the four options of SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// EX: seconds from now.
    Seconds,
    /// PX: milliseconds from now.
    Millis,
    /// EXAT: seconds since 1970.
    AtSecond,
    /// PXAT: milliseconds since 1970.
    AtMilli,
}

impl TimeForm {
    /// The form that an option of SET or GETEX asks for.
    pub fn of_option(option: &[u8]) -> Option<Self> {
        let forms = [
            ("ex", TimeForm::Seconds),
            ("px", TimeForm::Millis),
            ("exat", TimeForm::AtSecond),
            ("pxat", TimeForm::AtMilli),
        ];
        let named =
            forms.into_iter().find(|(name, _)| option.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, form)| form)
    }

    /// The deadline that `amount` names at `now_ms`, in milliseconds since 1970; it may be negative.
    /// `command` is named in the error.
    pub fn resolve(
        self,
        amount: i64,
        now_ms: u64,
        command: &'static str,
    ) -> Result<i64, CommandError> {
        let (unit_ms, base_ms) = match self {
            TimeForm::Seconds => (1000, now_ms as i64),
            TimeForm::Millis => (1, now_ms as i64),
            TimeForm::AtSecond => (1000, 0),
            TimeForm::AtMilli => (1, 0),
        };
        let deadline = amount.checked_mul(unit_ms).and_then(|ms| ms.checked_add(base_ms));
        deadline.ok_or(CommandError::InvalidExpire(command))
    }

    /// As [`Self::resolve`], for the commands that refuse an amount that is not positive.
    pub fn resolve_positive(
        self,
        amount: i64,
        now_ms: u64,
        command: &'static str,
    ) -> Result<u64, CommandError> {
        let deadline = self.resolve(amount, now_ms, command)?;
        match u64::try_from(deadline) {
            Ok(deadline) if amount > 0 => Ok(deadline),
            _ => Err(CommandError::InvalidExpire(command)),
        }
    }
}

/// Sets a key that was looked up to a string, or removes it when its deadline has come.
pub fn store_string_until(
    ctx: &mut WriteContext<'_, '_>,
    found: impl Into<Found>,
    value: &[u8],
    deadline_ms: Option<u64>,
) -> Result<(), StorageError> {
    if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= ctx.now_ms()) {
        return ctx.writer.remove(found).map(|_| ());
    }
    ctx.store_string(found, value, deadline_ms)
}

/// Gives a loaded key, if it is there, another deadline, or removes it when that has come.
pub fn change_deadline(
    ctx: &mut WriteContext<'_, '_>,
    loaded: Loaded,
    deadline_ms: Option<u64>,
) -> Result<(), StorageError> {
    let Some(record) = loaded.record().cloned() else {
        return Ok(());
    };
    if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= ctx.now_ms()) {
        return ctx.writer.remove(loaded).map(|_| ());
    }
    ctx.writer.store(loaded, record.kind, &[&record.payload], deadline_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_positive_and_fit_64_bits() {
        use TimeForm::*;
        let invalid = Err(CommandError::InvalidExpire("set"));
        for (form, amount, expected) in [
            (Seconds, 5, Ok(6_000)),
            (Millis, 5, Ok(1_005)),
            (AtSecond, 5, Ok(5_000)),
            (AtMilli, i64::MAX, Ok(i64::MAX as u64)),
            (Seconds, 0, invalid.clone()),
            (Seconds, -1, invalid.clone()),
            (AtMilli, 0, invalid.clone()),
            (Seconds, i64::MAX / 1000, invalid.clone()),
            (Millis, i64::MAX, invalid.clone()),
            (AtSecond, i64::MAX / 1000 + 1, invalid),
        ] {
            assert_eq!(form.resolve_positive(amount, 1_000, "set"), expected, "{form:?} {amount}");
        }
        assert_eq!(Seconds.resolve(i64::MIN / 1000, 0, "expire"), Ok(i64::MIN / 1000 * 1000));
        assert!(Seconds.resolve(i64::MIN / 1000 - 1, 0, "expire").is_err());
    }
}
