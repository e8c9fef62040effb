//! One node of the demo: a process of this binary.
//!
//! It runs in a process group of its own, so that Ctrl-C reaches the demo alone, and ends when its
//! standard input does: closing that is how it is asked to stop, and what happens by itself when
//! the demo is killed.

use super::plan::NodePlan;
use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// A node, running or not.
pub(super) struct Process {
    /// Where it runs.
    pub(super) plan: NodePlan,
    child: Option<Child>,
}

impl Process {
    /// A node that does not run yet.
    pub(super) fn new(plan: NodePlan) -> Self {
        Process { plan, child: None }
    }

    /// Starts it.
    pub(super) fn start(&mut self) -> Result<(), String> {
        let plan = &self.plan;
        let failed = |error| format!("node {} cannot be started: {error}", plan.number);
        let program = std::env::current_exe().map_err(failed)?;
        let log = File::options().create(true).append(true).open(&plan.log_file);
        let log = log.map_err(failed)?;
        let mut command = Command::new(program);
        command
            .args(["start", "--exit-with-stdin", "--set", "log-format=human"])
            .args(["--listen", &plan.listen, "--peer-listen", &plan.peer_listen])
            .arg("--data-dir")
            .arg(&plan.data_dir);
        if !plan.join.is_empty() {
            command.args(["--bootstrap-expect", &plan.join.len().to_string()]);
            command.args(["--join", &plan.join.join(",")]);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(crate::config::ENVIRONMENT_PREFIX) {
                command.env_remove(name);
            }
        }
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// Whether it runs, as far as was noticed.
    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Notices that it ended by itself; told once.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    /// Asks it to stop.
    pub(super) fn close(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
        }
    }

    /// Waits for its end; whether it came in time.
    pub(super) async fn wait(&mut self, wait: Duration) -> bool {
        let Some(child) = &mut self.child else { return true };
        // tokio closes standard input before it waits, which would stop a node; it is closed here.
        match tokio::time::timeout(wait, child.wait()).await {
            Ok(_) => {
                self.child = None;
                true
            }
            Err(_) => false,
        }
    }

    /// Ends it without warning (kill -9); whether it ran.
    pub(super) async fn kill(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return false };
        if let Ok(Some(_)) = child.try_wait() {
            return false;
        }
        // An error means that it has just ended.
        drop(child.kill().await);
        true
    }
}
