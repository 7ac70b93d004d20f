//! Fits text into columns: width on the terminal, line breaks, and shortened names.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Width of `text` on a terminal, in columns.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Breaks `text` at spaces into lines of at most `room` columns. A number stays together with the word behind it. A word that is
/// longer than a line is broken at any character.
pub(super) fn lines(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        if !line.is_empty() && width(&line) + 1 + width(word) > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let mut rest = word;
        while width(&line) + width(rest) > room {
            let left = room.saturating_sub(width(&line)).max(1);
            let (head, tail) = rest.split_at(longest_head(rest, left));
            line.push_str(head);
            lines.push(std::mem::take(&mut line));
            rest = tail;
        }
        line.push_str(rest);
    }
    lines.push(line);
    lines
}

/// The words of `text`. A number and the word behind it, such as its unit, count as one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let first = text.find(' ').unwrap_or(text.len());
        let (head, tail) = text.split_at(first);
        let second = tail.strip_prefix(' ').map_or(0, |tail| 1 + tail.find(' ').unwrap_or(tail.len()));
        let number = head.ends_with(|c: char| c.is_ascii_digit());
        let (word, tail) = text.split_at(if number { first + second } else { first });
        rest = tail.strip_prefix(' ');
        Some(word)
    })
}

/// Separates a name from the text that distinguishes it from the same name in another row, often its line.
const BESIDE: &str = "  ";

/// Columns that a name gets at least beside that text.
const LEAST_NAME: usize = 4;
/// Separates the name of a function from its caller.
const CALLED_BY: &str = "called by ";

/// End of the text beside the name of a function whose callers are missing.
const UNSEEN_CALLERS: &str = " callers cannot be seen";

/// Shortens a name to at most `room` columns, with at most one `…`. It drops the arguments first, then the type parameters, then the
/// path before the function, and last the end of the function's own name. The number of a line beside the name is kept:
/// `chat::push:41`. Of the path of a file its end is kept.
pub(super) fn name(name: &str, room: usize) -> String {
    if width(name) <= room {
        return name.to_owned();
    }
    if name.starts_with('/') {
        return path(name, room);
    }
    if let Some((name, beside)) = name.rsplit_once(BESIDE) {
        return with_beside(name, beside, room);
    }
    if let Some(short) = script(name, room) {
        return short;
    }
    let short = collapse(name, '(', ')', "");
    let marked = collapse(&short, '<', '>', "<…>");
    let marked = if marked.matches('…').count() > 1 { None } else { Some(marked) };
    let fits = [Some(short.clone()), marked].into_iter().flatten().find(|form| width(form) <= room);
    fits.unwrap_or_else(|| path_end(&collapse(&short, '<', '>', ""), room))
}

/// Shortens a function of a script with its place, `push /srv/game/chat.js:4:1`, by dropping directories.
fn script(name: &str, room: usize) -> Option<String> {
    let at = name.find(" /")?;
    let (function, place) = name.split_at_checked(at)?;
    let left = room.checked_sub(width(function) + 1)?;
    let short = path(place.trim_start(), left);
    short.starts_with("…/").then(|| format!("{function} {short}"))
}

/// The parts of a path between `::`, ignoring those inside brackets.
fn parts(name: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, c) in name.char_indices() {
        match c {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' | ')' | '}' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && at > from && name.get(at..).is_some_and(|rest| rest.starts_with("::")) => {
                parts.extend(name.get(from..at));
                from = at + 2;
            }
            _ => {}
        }
    }
    parts.extend(name.get(from..));
    parts
}

/// The function with as much of the end of its path as fits, and of the beginning of the path if a whole part fits.
fn path_end(name: &str, room: usize) -> String {
    if width(name) <= room {
        return name.to_owned();
    }
    // A closure has no name of its own, so it is the first to be dropped.
    let anonymous = name.replace("(anonymous namespace)", "…");
    if anonymous.matches('…').count() == 1 && width(&anonymous) <= room {
        return anonymous;
    }
    if let Some(short) = dotted_end(name, room) {
        return short;
    }
    let parts = parts(name);
    let elided = |head: usize, tail: usize| {
        let (head, tail) = (parts.get(..head).unwrap_or_default(), parts.get(tail..).unwrap_or_default());
        [head, &["…"], tail].concat().join("::")
    };
    let last = parts.len().saturating_sub(1);
    let fits = |head: usize, tail: usize| width(&elided(head, tail)) <= room;
    let Some(tail) = (1..=last).find(|tail| fits(0, *tail)) else {
        return start(parts.last().unwrap_or(&name), room);
    };
    let head = (0..tail).rev().find(|head| fits(*head, tail)).unwrap_or(0);
    elided(head, tail)
}

/// Shortens a method of Java or .NET to as much of its path as fits: `…Unsafe.allocateMemory`.
fn dotted_end(name: &str, room: usize) -> Option<String> {
    let is_path = name.matches('.').count() > 1 && !name.contains(['+', '/', ' ', ':']);
    let ends = name.match_indices('.').filter_map(|(at, dot)| name.get(at + dot.len()..));
    let mut short = ends.filter(|_| is_path).map(|end| format!("…{end}"));
    short.find(|short| width(short) <= room)
}

/// Shortens a name and the text beside it.
fn with_beside(function: &str, beside: &str, room: usize) -> String {
    // A closure has no name of its own, and its line says more than its number.
    let written = function.split(" › {").next().unwrap_or(function);
    let line = beside.rsplit_once(':').filter(|(_, line)| line.chars().all(|c| c.is_ascii_digit()));
    if let Some((_, line)) = line {
        let whole = format!("{written}{BESIDE}{beside}");
        if width(&whole) <= room {
            return whole;
        }
        let line = format!(":{line}");
        let left = room.saturating_sub(width(&line));
        return if left == 0 { start(&line, room) } else { format!("{}{line}", name(written, left)) };
    }
    // Try shorter forms without `…` first, and cut the name only if none fits.
    let least = least(beside);
    for function in [function.to_owned(), bare(function)] {
        for beside in [beside, &least] {
            if width(&function) + width(BESIDE) + width(beside) <= room {
                return format!("{function}{BESIDE}{beside}");
            }
        }
    }
    match room.checked_sub(width(BESIDE) + width(&least)) {
        Some(left) if left >= LEAST_NAME => format!("{}{BESIDE}{least}", path_end(&bare(function), left)),
        _ => path_end(&bare(function), room),
    }
}

/// A name without arguments and type parameters.
fn bare(name: &str) -> String {
    collapse(&collapse(name, '(', ')', ""), '<', '>', "")
}

/// Shortens the text beside a name: a caller without its path, a file without its directory.
fn least(beside: &str) -> String {
    if let Some(caller) = beside.strip_prefix(CALLED_BY) {
        let caller = bare(caller);
        return format!("{CALLED_BY}{}", parts(&caller).last().unwrap_or(&""));
    }
    if beside.ends_with(UNSEEN_CALLERS) {
        return "callers unseen".to_owned();
    }
    let file = beside.strip_prefix('/').and_then(|path| path.rsplit('/').next());
    file.unwrap_or(beside).to_owned()
}

/// The start of a text in at most `room` columns, with `…` in place of the rest.
pub(super) fn start(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    if room == 0 {
        return String::new();
    }
    let mut start = text.get(..longest_head(text, room - 1)).unwrap_or_default();
    // A character that is two columns wide may not fit.
    if width(start) > room - 1 {
        start = "";
    }
    format!("{start}…")
}

/// Shortens words in parentheses to at most `room` columns: keeps whole words from the start, with `…` in place of the rest.
pub(super) fn aside(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for word in text.trim_end_matches(')').split(' ') {
        let space = usize::from(!kept.is_empty());
        // Leave room for a space, the dots and the parenthesis.
        if width(&kept) + space + width(word) + 3 > room {
            break;
        }
        if space > 0 {
            kept.push(' ');
        }
        kept.push_str(word);
    }
    let kept = kept.trim_end_matches([',', ';', ':']);
    if kept.is_empty() { start("…", room) } else { format!("{kept} …)") }
}

/// Shortens a path to at most `room` columns. Its end is kept, starting at a directory if possible.
pub(super) fn path(path: &str, room: usize) -> String {
    if width(path) <= room {
        return path.to_owned();
    }
    let short = middle(path, room, 0);
    match short.find('/') {
        Some(at) => format!("…{}", short.get(at..).unwrap_or_default()),
        None => short,
    }
}

/// Replaces the part of `text` that does not fit by `…`, after `head` columns.
fn middle(text: &str, room: usize, head: usize) -> String {
    if room < 2 {
        return "…".to_owned();
    }
    let start = text.get(..longest_head(text, head)).unwrap_or_default();
    let left = (room - 1).saturating_sub(width(start));
    let (mut taken, mut from) = (0, text.len());
    for (at, c) in text.char_indices().rev() {
        taken += c.width().unwrap_or(0);
        if taken > left {
            break;
        }
        from = at;
    }
    format!("{start}…{}", text.get(from..).unwrap_or_default())
}

/// Length in bytes of the longest start of `text` that fits into `room` columns; at least one character if `room` is not 0.
fn longest_head(text: &str, room: usize) -> usize {
    let (mut taken, mut best) = (0, 0);
    for (at, c) in text.char_indices() {
        taken += c.width().unwrap_or(0);
        if taken > room {
            break;
        }
        best = at + c.len_utf8();
    }
    if best == 0 && room > 0 { text.chars().next().map_or(0, char::len_utf8) } else { best }
}

/// Replaces outermost brackets behind a name, with their content, by `instead`: `Vec<T>::push` becomes `Vec<…>::push`. Brackets at the
/// start belong to the name (`<T as Trait>::f`, `(anonymous namespace)::f`), and `<` in an operator is not a bracket.
fn collapse(name: &str, open: char, close: char, instead: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let (mut depth, mut previous) = (0usize, ' ');
    for c in name.chars() {
        let operator = out.ends_with("operator") || (open == '<' && out.ends_with("operator<"));
        if c == open && !operator && (depth > 0 || previous.is_alphanumeric() || "_<>)".contains(previous)) {
            depth += 1;
        } else if c == close && depth > 0 && previous != '-' {
            depth -= 1;
            if depth == 0 {
                out.push_str(instead);
            }
        } else if depth == 0 {
            out.push(c);
        }
        previous = c;
    }
    if depth == 0 { out } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
