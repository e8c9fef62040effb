//! Errors of commands: part of the answer, the same on every node.

use storage::StorageError;

/// What a handler returns.
pub type Outcome = Result<protocol::Reply, Failure>;

/// Why a handler has no reply.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Part of the answer, same on every node.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// This node's store is broken; inside apply it stops the node.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A deterministic error; its text is the reply, in Redis's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The key holds another type.
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    /// The arguments do not fit the syntax.
    #[error("ERR syntax error")]
    Syntax,
    /// An argument or value is no 64-bit integer.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// An argument or value is no number.
    #[error("ERR value is not a valid float")]
    NotAFloat,
    /// A result does not fit 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// The source key is missing.
    #[error("ERR no such key")]
    NoSuchKey,
    /// A database number is out of range.
    #[error("ERR DB index is out of range")]
    DatabaseRange,
    /// Source and destination are one key.
    #[error("ERR source and destination objects are the same")]
    SameObject,
    /// A deadline is not positive, or overflows.
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(&'static str),
    /// The number of arguments does not fit.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    /// A string would exceed the limit.
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    /// The values of one reply are too long together.
    #[error("ERR the values together exceed {max} bytes", max = crate::limits::MGET_BYTES_MAX)]
    ValuesTooLong,
    /// The key is longer than the store can hold.
    #[error("ERR key is longer than {max} bytes", max = storage::limits::USER_KEY_BYTES_MAX)]
    KeyTooLong,
    /// Any other, in Redis's words, prefix included.
    #[error("{0}")]
    Text(std::borrow::Cow<'static, str>),
}

impl CommandError {
    /// An error by its whole text, prefix included.
    pub fn text(text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        CommandError::Text(text.into())
    }
}
