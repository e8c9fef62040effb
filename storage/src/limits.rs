//! Bounds of the storage layout.

/// Longest user key, in bytes. Redis allows 512 MB; the LSM store holds keys of up to 65,535 bytes.
pub const USER_KEY_BYTES_MAX: usize = 65_000;

/// Longest storage key, in bytes (fjall's limit).
pub const STORAGE_KEY_BYTES_MAX: usize = 65_535;

/// Most databases that can be configured.
pub const DATABASES_MAX: usize = 256;
