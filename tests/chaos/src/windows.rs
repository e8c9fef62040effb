//! When a fault is active: from the moment it is applied until it is ended, without the time that a
//! cluster needs to settle; only if it had an effect.

use crate::journal::Journal;
use std::sync::Arc;

/// A moment, and how many operations had a known outcome then.
#[derive(Clone, Copy)]
struct Moment {
    at: u64,
    known: u64,
}

/// The windows of the fault that is being injected.
pub struct Windows {
    journal: Arc<Journal>,
    begun: Option<Moment>,
    over: Vec<(Moment, Moment)>,
    /// Operations that came back inside the windows of all faults so far.
    pub inside: u64,
}

impl Windows {
    /// No windows yet; they are noted in `journal`.
    pub fn new(journal: Arc<Journal>) -> Self {
        Windows { journal, begun: None, over: Vec::new(), inside: 0 }
    }

    /// The fault is applied from now on; or it was before.
    pub fn open(&mut self) {
        self.begun.get_or_insert(Moment { at: self.journal.now(), known: self.journal.known() });
    }

    /// The fault is ended, or it was before.
    pub fn close(&mut self) {
        let now = Moment { at: self.journal.now(), known: self.journal.known() };
        self.over.extend(self.begun.take().map(|begun| (begun, now)));
    }

    /// All of a fault is over: notes its windows if it had an effect.
    pub fn end(&mut self, name: &str, had_effect: bool) {
        self.close();
        for (begun, ended) in self.over.drain(..).filter(|_| had_effect) {
            self.journal.window(begun.at, ended.at, name);
            self.inside += ended.known - begun.known;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Span;
    use serde_json::json;

    #[test]
    fn only_faults_with_an_effect_have_windows() {
        let root = tempfile::tempdir().unwrap();
        let journal = Arc::new(Journal::create(&root.path().join("history.jsonl")).unwrap());
        let mut windows = Windows::new(journal.clone());
        let operate = || {
            let now = journal.now();
            let span = Span { invoked: now, returned: Some(now), index: None };
            journal.note(0, "look", span, (false, Vec::new()), json!(null));
        };
        windows.open();
        operate();
        windows.end("Pause", false);
        for _ in 0..2 {
            windows.open();
            operate();
            windows.open();
            windows.close();
            operate();
            windows.close();
        }
        windows.end("Flapping", true);
        let inside = windows.inside;
        let history = journal.finish();
        let names: Vec<&str> = history.windows.iter().map(|window| window.2.as_str()).collect();
        assert_eq!((names, inside), (vec!["Flapping", "Flapping"], 2));
        assert_eq!(history.inside_windows(), 2);
    }
}
