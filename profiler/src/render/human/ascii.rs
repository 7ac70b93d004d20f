//! Converts text to ASCII, for terminals and locales without UTF-8.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar as _;

/// The replacement of a character: a text of any width, and one character.
fn plain(c: char) -> Option<(&'static str, char)> {
    Some(match c {
        '…' => ("...", '*'),
        '±' => ("+-", '~'),
        '≥' => (">=", '>'),
        '≤' => ("<=", '<'),
        '→' => ("->", '>'),
        '·' | '–' | '—' => ("-", '-'),
        '›' | '»' => (">", '>'),
        '‹' | '«' => ("<", '<'),
        '▁' => ("_", '_'),
        '▂' => (".", '.'),
        '▃' => ("-", '-'),
        '▄' => ("~", '~'),
        '▅' => ("=", '='),
        '▆' => ("+", '+'),
        '▇' => ("*", '*'),
        '█' => ("#", '#'),
        '×' => ("x", 'x'),
        'µ' | 'μ' => ("u", 'u'),
        '‘' | '’' => ("'", '\''),
        '“' | '”' => ("\"", '"'),
        _ => return None,
    })
}

/// Converts text before it is laid out; it may become wider. Characters of other scripts become question marks.
pub(super) fn spelled(text: &str) -> Cow<'_, str> {
    translated(text, |out, c| match plain(c) {
        Some((words, _)) => out.push_str(words),
        None => unknown(out, c),
    })
}

/// Converts a line that is already laid out, without changing its width. The `…` in a shortened name becomes `*`, so that the name is
/// a pattern that matches the full name.
pub(super) fn of_same_width(line: &str) -> Cow<'_, str> {
    translated(line, |out, c| match plain(c) {
        Some((_, one)) => out.push(one),
        None => unknown(out, c),
    })
}

fn translated(text: &str, other: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() { out.push(c) } else { other(&mut out, c) }
    }
    Cow::Owned(out)
}

fn unknown(out: &mut String, c: char) {
    out.extend(std::iter::repeat_n('?', c.width().unwrap_or(0)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{of_same_width, spelled};
    use crate::render::human::fit;

    #[test]
    fn known_characters_are_replaced_and_others_become_question_marks() {
        assert_eq!(spelled("0.30 ±0.03 · a › b (≥200) …"), "0.30 +-0.03 - a > b (>=200) ...");
        assert_eq!(of_same_width("asset:…Cache::insert 玩家"), "asset:*Cache::insert ????");
        assert!(matches!(spelled("plain"), std::borrow::Cow::Borrowed("plain")));
    }

    proptest! {
        #[test]
        fn everything_is_ascii_and_a_line_stays_as_wide(text in "\\PC{0,40}|[…±≥·›→ a-z]{0,20}") {
            prop_assert!(spelled(&text).is_ascii());
            let line = of_same_width(&text);
            prop_assert!(line.is_ascii());
            // Some sequences of characters are narrower than the sum of their widths.
            prop_assert!(line.len() >= fit::width(&text) || text.chars().any(|c| !c.is_alphanumeric()));
        }
    }
}
