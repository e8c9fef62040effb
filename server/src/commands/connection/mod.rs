//! Commands on the connection itself: who the client is, what it selected, how it is answered.

pub mod auth;
mod client;
mod echo;
mod hello;
mod ping;
mod quit;
mod reset;
mod select;
#[cfg(test)]
mod tests;

use crate::commands::spec::CommandSpec;

/// The commands of this chapter.
pub static COMMANDS: &[CommandSpec] = &[
    auth::AUTH,
    client::CLIENT,
    echo::ECHO,
    hello::HELLO,
    ping::PING,
    quit::QUIT,
    reset::RESET,
    select::SELECT,
];
