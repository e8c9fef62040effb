//! How much a client may send, before and after it has authenticated.
//!
//! The values are those of redis-server 7.0.15. They bound one request; how many connections there
//! are is the server's business. Everything here is in bytes or in arguments, as the name says.

/// Longest inline command, and longest line that announces a count or a length.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Default of `proto-max-bulk-len`: the longest single argument.
pub const BULK_BYTES_MAX_DEFAULT: usize = 512 * 1024 * 1024;
/// Most arguments of one request.
pub const MULTIBULK_COUNT_MAX: u32 = i32::MAX as u32;
/// Default of `client-query-buffer-limit`: the most one request may occupy while it is read.
pub const QUERY_BUFFER_BYTES_MAX_DEFAULT: usize = 1024 * 1024 * 1024;

/// Longest argument of a client that has not authenticated.
pub const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;
/// Most arguments of a client that has not authenticated.
pub const UNAUTHENTICATED_MULTIBULK_COUNT_MAX: u32 = 10;
/// Most memory of a request of a client that has not authenticated.
pub const UNAUTHENTICATED_QUERY_BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// The limits that hold for the next bytes of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// Longest argument, in bytes (`proto-max-bulk-len`).
    pub bulk_bytes_max: usize,
    /// Longest inline command and longest line with a count or length, in bytes.
    /// At least 12: a count or length of up to nine digits is read without measuring its line.
    pub inline_bytes_max: usize,
    /// Most arguments of one request; more than `i32::MAX` would not be Redis.
    pub multibulk_count_max: u32,
    /// Most bytes of one request, its bookkeeping of 8 bytes for each argument included. Never
    /// more than `u32::MAX` has an effect, for the ends of arguments are kept as `u32`.
    pub query_buffer_bytes_max: usize,
    /// Whether the `UNAUTHENTICATED_` limits are lifted.
    pub authenticated: bool,
}

impl ScanLimits {
    /// For a client that may run commands, with the given longest argument in bytes.
    pub const fn authenticated(bulk_bytes_max: usize) -> Self {
        Self {
            bulk_bytes_max,
            inline_bytes_max: INLINE_BYTES_MAX,
            multibulk_count_max: MULTIBULK_COUNT_MAX,
            query_buffer_bytes_max: QUERY_BUFFER_BYTES_MAX_DEFAULT,
            authenticated: true,
        }
    }

    /// For a client that has yet to authenticate: a stranger costs little memory.
    pub const fn unauthenticated() -> Self {
        Self {
            query_buffer_bytes_max: UNAUTHENTICATED_QUERY_BUFFER_BYTES_MAX,
            authenticated: false,
            ..Self::authenticated(BULK_BYTES_MAX_DEFAULT)
        }
    }
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self::authenticated(BULK_BYTES_MAX_DEFAULT)
    }
}
