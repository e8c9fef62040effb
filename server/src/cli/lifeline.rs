//! A node that lives no longer than the process that started it.
//!
//! The starter holds the writing end of a pipe that is the node's standard input and never writes
//! to it. The system closes that end when the starter ends, however it does, so no process id is
//! watched and none can be mistaken. The node then stops as after SIGTERM.

use std::io::{ErrorKind, Read};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a node may take to stop, beyond its own limit, before its process is ended.
const GRACE: Duration = Duration::from_secs(1);

/// Cancels `shutdown` when standard input ends, and ends the process with `exit_code` if it is
/// still there `wait` later. What comes from standard input is ignored.
pub(crate) fn watch(
    shutdown: CancellationToken,
    wait: Duration,
    exit_code: i32,
) -> std::io::Result<()> {
    let watch = move || {
        let mut input = std::io::stdin().lock();
        let mut ignored = [0; 512];
        loop {
            match input.read(&mut ignored) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        tracing::info!("standard input has ended");
        shutdown.cancel();
        std::thread::sleep(wait + GRACE);
        std::process::exit(exit_code);
    };
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(watch)?;
    Ok(())
}
