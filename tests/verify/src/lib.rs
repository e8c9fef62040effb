//! Cargo, called as a shell calls it: by the gate, by tests and by the bench, which build what they start.

use std::env;
use std::process::Command;

/// What `cargo run` and `cargo test` tell a program of the package that it is of.
const OF_A_PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// The cargo at hand, without what the cargo that started this program told it: build scripts read the
/// same names (that of ring does), and would run again, with all that is built upon them, whenever
/// cargo is called from a shell and from a program in turns.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if OF_A_PACKAGE.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_this_package_is_passed_on() {
        let told =
            || env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG_"));
        assert!(told().count() > 3, "cargo runs this test");
        let command = cargo();
        for (name, _) in told() {
            assert!(command.get_envs().any(|(removed, value)| removed == name && value.is_none()));
        }
    }
}
