//! The escapes, one per output format.

use std::borrow::Cow;

/// Whether a character acts on its surroundings or cannot be seen: C0, DEL, C1, line and paragraph separators,
/// bidirectional controls, zero-width and other default-ignorable characters.
///
/// The ranges are those of the Unicode categories Cc, Cf, Zl and Zp that change how text is displayed, and the
/// tag characters (U+E0000), which can smuggle text.
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Our own words, made safe for a terminal: hidden characters are spelled out, the rest stays as it is. Escaped text
/// does not change when it is escaped again.
pub fn visible(words: &str) -> Cow<'_, str> {
    if !words.contains(is_hidden) {
        return Cow::Borrowed(words);
    }
    let mut out = String::with_capacity(words.len() + 8);
    for c in words.chars() {
        push_visible(&mut out, c);
    }
    Cow::Owned(out)
}

/// Untrusted bytes as one visible line.
pub(super) fn terminal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                out.push_str("\\\\");
            } else {
                push_visible(&mut out, c);
            }
        }
        for &byte in chunk.invalid() {
            push_byte(&mut out, byte);
        }
    }
    out
}

/// Markup as entities. `text` has no hidden characters any more; XML 1.0 forbids most of them.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // The two code points that are not hidden and not allowed in XML 1.0.
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A frame of a folded stack (`root;caller;callee 42`). In such a line `;` would begin another frame, spaces at either
/// end would be trimmed, ` 42` at the end would be read as samples, and a leading `#` starts a comment.
pub(super) fn folded(text: &str) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let counts_from = text.rfind(' ').filter(|&at| {
        let tail = text.get(at + 1..).unwrap_or_default();
        tail.chars().all(|c| c.is_ascii_digit() || c == '.')
    });
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let spelled = match c {
            ';' => true,
            '#' => at == 0,
            ' ' => at == 0 || Some(at) == counts_from,
            c => c.is_whitespace() && c != ' ',
        };
        match (spelled, u8::try_from(c)) {
            (false, _) => out.push(c),
            (true, Ok(byte)) => push_byte(&mut out, byte),
            (true, Err(_)) => push_code_point(&mut out, c),
        }
    }
    out
}

fn push_visible(out: &mut String, c: char) {
    match c {
        c if !is_hidden(c) => out.push(c),
        '\0'..='\x7f' => push_byte(out, c as u8),
        c => push_code_point(out, c),
    }
}

fn push_byte(out: &mut String, byte: u8) {
    out.push_str(&format!("\\x{byte:02x}"));
}

fn push_code_point(out: &mut String, c: char) {
    out.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
}
