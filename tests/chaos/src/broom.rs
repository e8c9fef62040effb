//! Cleans up after this process, whatever ends it: a shell that waits for that end.

use std::ffi::OsStr;
use std::io;
use std::process::{Child, Command, Stdio};

/// Signals of a terminal that end the run must not end the broom.
const WAIT: &str = "trap '' INT TERM HUP; cat > /dev/null;";

/// Runs a shell's commands when this is dropped, or when this process ends.
pub(crate) struct Broom(Child);

impl Broom {
    /// Starts to wait. The commands see `words` as `$0`, `$1` and so on.
    ///
    /// # Errors
    ///
    /// When there is no shell to start.
    pub(crate) fn start(
        commands: &str,
        words: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{WAIT} {commands}")]).args(words);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Broom {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // There is nothing to be done about a failure here.
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let swept = dir.path().join("swept");
        let broom = Broom::start("touch \"$0\"", [&swept]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!swept.exists());
        drop(broom);
        assert!(swept.exists());
    }
}
