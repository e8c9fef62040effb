//! Diagnostics: for people on a terminal, JSON otherwise, to standard error.

use crate::config::{LogFormat, Settings};
use std::io::IsTerminal;
use tracing_subscriber::filter::EnvFilter;

/// Starts diagnostics as the settings say.
pub(crate) fn start(settings: &Settings) {
    let values = settings.load();
    let level = values.loglevel.name();
    // openraft's own lines are for its developers; ours say what operators need.
    let filter = EnvFilter::new(format!("{level},openraft=error,fjall=warn,lsm_tree=warn"));
    let terminal = std::io::stderr().is_terminal();
    let human = match values.log_format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if human {
        builder.with_target(false).with_ansi(terminal).init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
