//! Plain ASCII, for terminals and locales that show nothing else.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar as _;

/// What stands for a character: as long as it takes, and in one column.
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

/// Text in ASCII, before it is laid out: it may become longer. Characters of other scripts are question marks.
pub(super) fn spelled(text: &str) -> Cow<'_, str> {
    translated(text, |out, c| match plain(c) {
        Some((words, _)) => out.push_str(words),
        None => unknown(out, c),
    })
}

/// A line in ASCII that is laid out already and stays as wide as it is. What was cut out of a name is a `*`, as in a
/// pattern that fits it.
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
    fn our_own_signs_have_words_and_other_scripts_do_not() {
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
            // Some sequences of characters are narrower than their parts.
            prop_assert!(line.len() >= fit::width(&text) || text.chars().any(|c| !c.is_alphanumeric()));
        }
    }
}
