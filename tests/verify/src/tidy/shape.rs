//! The shape of a file: it says what it is for, and is no longer than one can read.

use super::source::Source;

/// Lines of a file without its tests. Above 500 one should have talked about it.
const LINES_MAX: usize = 700;

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        if !source.text.starts_with("//!") && !source.text.starts_with("#!") {
            problems.push(format!("{}: it does not begin with //!", source.path));
        }
        let lines = source.lines_without_tests();
        if lines > LINES_MAX && !source.is_test() {
            let path = &source.path;
            problems.push(format!("{path}: {lines} lines without tests, {LINES_MAX} at most"));
        }
    }
    problems
}
