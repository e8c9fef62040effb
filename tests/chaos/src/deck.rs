//! Which fault comes next: classes in a seeded order, those that still lack effect first.
//!
//! A deck holds each class that is still wanted, the ones furthest from their number twice; when
//! nothing is wanted any more, each class once. Cards whose class has got its number meanwhile are
//! dropped.

use crate::faults::Fault;
use kvorum_tests::random::Random;

/// The cards, and the classes that they are made of.
pub struct Deck {
    classes: Vec<Fault>,
    cards: Vec<Fault>,
}

impl Deck {
    /// A deck of these classes.
    pub fn new(classes: Vec<Fault>) -> Self {
        Deck { classes, cards: Vec::new() }
    }

    /// The classes.
    pub fn classes(&self) -> &[Fault] {
        &self.classes
    }

    /// The next card; `missing`: how often a class has still to take effect.
    pub fn draw(&mut self, random: &mut Random, missing: impl Fn(Fault) -> u64) -> Fault {
        loop {
            let most = self.classes.iter().map(|class| missing(*class)).max().unwrap_or(0);
            match self.cards.pop() {
                Some(card) if most == 0 || missing(card) > 0 => return card,
                Some(_) => {}
                None => self.deal(random, most, &missing),
            }
        }
    }

    fn deal(&mut self, random: &mut Random, most: u64, missing: impl Fn(Fault) -> u64) {
        for class in &self.classes {
            let copies = match missing(*class) {
                0 => usize::from(most == 0),
                some if some * 2 > most && most > 1 => 2,
                _ => 1,
            };
            self.cards.extend(std::iter::repeat_n(*class, copies));
        }
        for at in (1..self.cards.len()).rev() {
            self.cards.swap(at, random.below(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::SHALLOW;
    use std::collections::BTreeMap;

    #[test]
    fn what_lacks_effect_is_drawn_until_nothing_does() {
        let mut deck = Deck::new(SHALLOW.to_vec());
        let mut random = Random::new(3);
        let mut done: BTreeMap<Fault, u64> = BTreeMap::new();
        let mut draws = 0;
        while SHALLOW.iter().any(|class| done.get(class).is_none_or(|count| *count < 5)) {
            let missing = |class| 5_u64.saturating_sub(done.get(&class).copied().unwrap_or(0));
            let card = deck.draw(&mut random, missing);
            assert!(missing(card) > 0, "{card:?} has its number");
            draws += 1;
            // One class takes effect every third time only.
            let takes = card != Fault::Pair || draws % 3 == 0;
            *done.entry(card).or_default() += u64::from(takes);
            assert!(draws < 500);
        }
        let last: Vec<Fault> = (0..SHALLOW.len()).map(|_| deck.draw(&mut random, |_| 0)).collect();
        assert!(SHALLOW.iter().all(|class| last.contains(class)), "then each once");
    }
}
