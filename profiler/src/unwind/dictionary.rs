//! Rules that do not fit a row; each is kept once.

use std::collections::HashMap;

use profiler_common::unwind::{Kind, RARE_CAPACITY, Rare, Row};

/// A list of different rules; a row refers to one by its number.
///
/// Each table has one of its own. An arena with several tables has one for all of them, and [adopts](Dictionary::adopt)
/// theirs into it.
#[derive(Clone, Debug)]
pub struct Dictionary {
    rules: Vec<Rare>,
    numbers: HashMap<Rare, u32>,
}

impl Default for Dictionary {
    /// With nothing but entry 0, [`Rare::UNSUPPORTED`].
    fn default() -> Self {
        Dictionary { rules: vec![Rare::UNSUPPORTED], numbers: HashMap::from([(Rare::UNSUPPORTED, 0)]) }
    }
}

impl Dictionary {
    /// The rules by number. Entry 0 is [`Rare::UNSUPPORTED`]; at most [`RARE_CAPACITY`].
    pub fn rules(&self) -> &[Rare] {
        &self.rules
    }

    /// The number of a rule, which is added if it is new. `None` if there is no room to add it.
    pub fn number(&mut self, rule: Rare) -> Option<u32> {
        if let Some(known) = self.numbers.get(&rule) {
            return Some(*known);
        }
        let number = u32::try_from(self.rules.len()).ok().filter(|_| self.rules.len() < RARE_CAPACITY)?;
        self.rules.push(rule);
        self.numbers.insert(rule, number);
        Some(number)
    }

    /// Adds the rules of another dictionary.
    pub fn adopt(&mut self, other: &Dictionary) -> Translation {
        let mut without_room = 0;
        let numbers = other.rules.iter().map(|rule| {
            self.number(*rule).unwrap_or_else(|| {
                without_room += 1;
                0
            })
        });
        Translation { numbers: numbers.collect(), without_room }
    }
}

/// From the numbers of one dictionary to those of another.
#[derive(Clone, Debug)]
pub struct Translation {
    numbers: Vec<u32>,
    /// Rules that did not fit: rows that refer to them become [`Row::UNSUPPORTED`].
    pub without_room: u32,
}

impl Translation {
    /// A row of the old table in terms of the dictionary that adopted its rules.
    #[inline]
    pub fn row(&self, row: Row) -> Row {
        if row.kind() != Kind::RARE {
            return row;
        }
        let number = self.numbers.get(row.rare_index() as usize).copied().unwrap_or(0);
        Row::rare(number).at(row.lo() as u8)
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::unwind::{CfaForm, RARE_CAPACITY, Rare, Row};

    use super::Dictionary;

    fn rule(offset: i32) -> Rare {
        Rare { cfa_form: CfaForm::VALUE, cfa_offset_bytes: offset, ..Rare::UNSUPPORTED }
    }

    #[test]
    fn a_rule_has_one_number() {
        let mut all = Dictionary::default();
        assert_eq!(all.number(Rare::UNSUPPORTED), Some(0));
        assert_eq!(
            (all.number(rule(8)), all.number(rule(16)), all.number(rule(8))),
            (Some(1), Some(2), Some(1))
        );
        assert_eq!(all.rules(), [Rare::UNSUPPORTED, rule(8), rule(16)]);
    }

    #[test]
    fn rows_follow_their_rules_into_another_dictionary() {
        let (mut one, mut all) = (Dictionary::default(), Dictionary::default());
        all.number(rule(8));
        let (a, b) = (one.number(rule(16)).unwrap(), one.number(rule(8)).unwrap());
        let translation = all.adopt(&one);
        assert_eq!(translation.without_room, 0);
        assert_eq!(translation.row(Row::rare(a).at(9)), Row::rare(2).at(9));
        assert_eq!(translation.row(Row::rare(b)), Row::rare(1));
        assert_eq!(translation.row(Row::UNSUPPORTED.at(1)), Row::UNSUPPORTED.at(1));
        assert_eq!(translation.row(Row::of(1, 1, 1).at(3)), Row::of(1, 1, 1).at(3));
        // A number that the table did not assign.
        assert_eq!(translation.row(Row::rare(77)), Row::UNSUPPORTED);
    }

    #[test]
    fn a_full_dictionary_makes_rules_unsupported() {
        let mut all = Dictionary::default();
        for offset in 1..RARE_CAPACITY {
            assert_eq!(all.number(rule(offset as i32)), Some(offset as u32));
        }
        assert_eq!(all.number(rule(-1)), None);
        assert_eq!(all.number(rule(5)), Some(5));
        let mut one = Dictionary::default();
        let (old, new) = (one.number(rule(7)).unwrap(), one.number(rule(-7)).unwrap());
        let translation = all.adopt(&one);
        assert_eq!(translation.without_room, 1);
        assert_eq!(translation.row(Row::rare(old)), Row::rare(7));
        assert_eq!(translation.row(Row::rare(new)), Row::UNSUPPORTED);
    }
}
