//! Kvorum.
