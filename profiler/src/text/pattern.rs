//! Patterns that people type: `*` matches any characters, `?` matches one, and everything else matches itself.

use glob::MatchOptions;

/// A pattern. Unlike in a shell, brackets and braces match themselves: names contain them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    given: String,
    compiled: glob::Pattern,
    options: MatchOptions,
}

impl Pattern {
    /// Matches whole names, case-sensitively.
    pub fn whole(pattern: &str) -> Pattern {
        Pattern::compile(pattern, pattern, true)
    }

    /// Matches any part of a name, whatever its case.
    pub fn anywhere(pattern: &str) -> Pattern {
        Pattern::compile(pattern, &format!("*{pattern}*"), false)
    }

    fn compile(given: &str, pattern: &str, case_sensitive: bool) -> Pattern {
        let mut escaped = String::with_capacity(pattern.len() + 8);
        for c in pattern.chars() {
            match c {
                '[' => escaped.push_str("[[]"),
                ']' => escaped.push_str("[]]"),
                // `**` means the same as `*` here; for the library it would mean directories.
                '*' if escaped.ends_with('*') => {}
                c => escaped.push(c),
            }
        }
        let options = MatchOptions {
            case_sensitive,
            require_literal_separator: false,
            require_literal_leading_dot: false,
        };
        // An escaped pattern is always well formed. The default, an empty pattern, matches empty names only.
        let compiled = glob::Pattern::new(&escaped).unwrap_or_default();
        Pattern { given: given.to_owned(), compiled, options }
    }

    /// The pattern as it was given.
    pub fn given(&self) -> &str {
        &self.given
    }

    /// Whether the pattern matches a name.
    pub fn fits(&self, name: &str) -> bool {
        self.compiled.matches_with(name, self.options)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Pattern;

    #[test]
    fn only_stars_and_question_marks_are_special() {
        for (pattern, name, fits) in [
            ("world [eu]", "world [eu]", true),
            ("world [eu]", "world e", false),
            ("world ?eu?", "world [eu]", true),
            ("world*", "world [eu]", true),
            ("*]", "world [eu]", true),
            ("[!a]", "b", false),
            ("a**b", "a/x/b", true),
            ("***", "", true),
            ("{a,b}", "a", false),
            ("\\*", "*", false),
            ("srv", "server", false),
            ("srv", "SRV", false),
            ("玩?", "玩家", true),
        ] {
            assert_eq!(Pattern::whole(pattern).fits(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_part_of_a_name_fits_whatever_its_case() {
        for (pattern, fits) in [
            ("history", true),
            ("HISTORY::p", true),
            ("chat*push", true),
            ("push*chat", false),
            ("<T[u8]>", true),
            ("[u8]", true),
            ("u9", false),
            ("", true),
        ] {
            assert_eq!(Pattern::anywhere(pattern).fits("chat::History::push<T[u8]>"), fits, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn a_name_fits_itself(name in "[^*?]{0,20}") {
            prop_assert!(Pattern::whole(&name).fits(&name));
            let longer = ["x", &name, "y"].concat();
            prop_assert!(Pattern::anywhere(&name).fits(&longer));
        }
    }
}
