//! The file of known problems (`--known`), with one site per line.

use std::{fs::File, io::Read as _, path::Path};

use crate::{
    error::{Error, ErrorKind, Result},
    naming,
    report::{Report, Site},
    text::{Pattern, Text},
};

/// Largest file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The sites that are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    file: Option<Text>,
    entries: Vec<Entry>,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its line number in the file, from 1.
    pub(super) line: usize,
    /// `NAME`, `NAME FILE:LINE` or `FILE:LINE` of a site, with the wildcards of [`Pattern::whole`].
    pub(super) words: String,
    pattern: Pattern,
}

impl Known {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFile`] if it cannot be read, is larger than 1 MiB, is not UTF-8, or has an entry that matches everything.
    pub fn open(path: &Path) -> Result<Known> {
        let tried = || Error::on(ErrorKind::InvalidFile, "tried to read the known leaks of", path);
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(|error| tried().because_of(error).hint("name a text file with one site a line"))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(tried().because("it is larger than 1 MiB"));
        }
        let entries = parse(&text);
        if let Some(all) = entries.iter().find(|entry| entry.words.chars().all(|c| "*? ".contains(c))) {
            return Err(tried()
                .because(format_args!("line {} matches every leak", all.line))
                .hint("name the sites, or leave --gate out"));
        }
        Ok(Known { file: Some(Text::from(path)), entries })
    }

    /// The file, as the user named it.
    pub(super) fn file(&self) -> Text {
        self.file.clone().unwrap_or_else(|| Text::from("the known leaks"))
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

fn parse(text: &str) -> Vec<Entry> {
    let of_line = |(index, line): (usize, &str)| {
        let words = one_space(without_comment(line));
        (!words.is_empty()).then(|| Entry::new(index + 1, words))
    };
    // Some editors write a byte order mark at the start of a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().enumerate().filter_map(of_line).collect()
}

/// Removes a comment, which begins with `#` at the start of the line or behind white space: `{closure#0}` is a name.
fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').find(begins);
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Replaces white space between words by one space, because tables align columns with several.
fn one_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Entry {
    fn new(line: usize, words: String) -> Entry {
        let pattern = Pattern::whole(&words);
        Entry { line, words, pattern }
    }

    /// Whether it matches one of these spellings.
    pub(super) fn matches(&self, spellings: &[String]) -> bool {
        spellings.iter().any(|spelling| self.pattern.fits(spelling))
    }
}

/// The name of a site without the text that distinguishes it from sites with the same name.
fn name(site: &Site) -> Option<String> {
    let (name, _) = naming::apart(site.label.as_ref()?);
    Some(one_space(&Text::new(name).terminal()))
}

/// The function of a site.
pub(super) fn function(site: &Site) -> Option<String> {
    let name = name(site)?;
    Some(name.strip_suffix(naming::AND_BELOW).unwrap_or(&name).to_owned())
}

/// Whether a site covers a function and all its callees.
pub(super) fn is_with_callees(site: &Site) -> bool {
    name(site).is_some_and(|name| name.ends_with(naming::AND_BELOW))
}

/// All ways to write a site in the file: as its rows do, with or without its place in the source. The text that distinguishes it from
/// sites with the same name may be left out; the name then matches all of them.
pub(super) fn spellings(report: &Report, site: &Site) -> Vec<String> {
    let label = site.label.as_ref().map(Text::terminal);
    let name = name(site);
    let function = name.as_ref().and_then(|name| name.strip_suffix(naming::AND_BELOW));
    let mut all: Vec<String> = label.iter().map(|label| one_space(label)).collect();
    all.extend(name.iter().map(String::as_str).chain(function).map(str::to_owned));
    let of_name = |called: &Text| name.as_ref().is_some_and(|name| *name == one_space(&called.terminal()));
    for row in site.rows.iter().filter_map(|&at| report.row(at)) {
        let frames = report.stack_of(row).into_iter().flat_map(|stack| report.frames_of(stack));
        let functions = frames.flat_map(|frame| {
            let spelled = move |nth| naming::spelled(frame, nth).map(|name| naming::short(&name));
            frame.functions.iter().enumerate().map(move |(nth, function)| (function, spelled(nth)))
        });
        // The innermost function with the name is the site. Rows have the name without arguments.
        let mut sites = functions
            .filter(|(function, spelled)| of_name(&function.name) || spelled.as_ref().is_some_and(of_name));
        let place = sites.find_map(|(function, _)| function.file.as_ref().zip(function.line));
        let Some((file, line)) = place else { continue };
        let path = file.terminal();
        let base = path.rsplit('/').next().unwrap_or(&path);
        for place in [format!("{path}:{line}"), format!("{base}:{line}")] {
            all.extend(name.iter().map(|name| format!("{name} {place}")));
            all.push(place);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn lines_are_sites_with_comments_behind_a_space() {
        let text = "# accepted in June\n\n  chat::History::push   # grows with the season\nhost::{closure#0}\n\
                    g(int,  char)\t#x\n";
        let entries = parse(text);
        let read: Vec<(usize, &str)> = entries.iter().map(|e| (e.line, e.words.as_str())).collect();
        assert_eq!(read, [(3, "chat::History::push"), (4, "host::{closure#0}"), (5, "g(int, char)")]);
        let marked = parse("\u{feff}chat::History::push\n\u{feff}x");
        let words: Vec<&str> = marked.iter().map(|entry| entry.words.as_str()).collect();
        assert_eq!(words, ["chat::History::push", "\u{feff}x"], "a byte order mark counts at the start only");
    }

    #[test]
    fn a_site_matches_by_name_and_by_place_in_the_source() {
        let report = sample::pong();
        let spellings = spellings(&report, &report.sites_of(&report.findings[0])[0]);
        for pattern in [
            "chat::History::push",
            "chat::History::push room.rs:41",
            "chat::History::push /home/dev/game/src/room.rs:41",
            "room.rs:41",
            "*/src/room.rs:*",
            "chat::History::pus?",
            "room.rs:??",
        ] {
            let entry = Entry::new(1, pattern.to_owned());
            assert!(entry.matches(&spellings), "{pattern}: {spellings:?}");
        }
        for pattern in ["chat::History::pus", "room.rs:42", "push", "room::Room::tick", "room.rs:?"] {
            let entry = Entry::new(1, pattern.to_owned());
            assert!(!entry.matches(&spellings), "{pattern}: {spellings:?}");
        }
    }

    #[test]
    fn a_function_matches_the_site_of_its_callees() {
        let report = sample::pong();
        let label = format!("room::Room::tick{}", naming::AND_BELOW);
        let site =
            Site { label: Some(label.as_str().into()), ..report.sites_of(&report.findings[0])[0].clone() };
        let spellings = spellings(&report, &site);
        for (pattern, is_meant) in [("room::Room::tick", true), (&label, true), ("room::Room::tic", false)] {
            assert_eq!(Entry::new(1, pattern.to_owned()).matches(&spellings), is_meant, "{pattern}");
        }
    }

    /// Names of rows have no arguments, closures are in their function, and names that several sites have are followed by text that
    /// distinguishes them.
    #[test]
    fn a_site_matches_by_the_name_of_its_row() {
        for (function, label) in [
            ("chat::History::push(std::string const&)", "chat::History::push"),
            ("chat::History::push(std::string const&)", "chat::History::push  room.rs:41"),
            ("chat::History::push(int)", "chat::History::push  called by room::Room::tick"),
            ("chat::History::push::{{closure}}", "chat::History::push › {closure}  room.rs:41"),
        ] {
            let mut report = sample::pong();
            let functions = report.frames.iter_mut().flat_map(|frame| &mut frame.functions);
            for of_frame in functions.filter(|of_frame| of_frame.name == Text::from("chat::History::push")) {
                of_frame.name = function.into();
            }
            let site = Site { label: Some(label.into()), ..report.sites_of(&report.findings[0])[0].clone() };
            let spellings = spellings(&report, &site);
            let name = label.split("  ").next().unwrap();
            for words in [name, &one_space(label), "room.rs:41", &format!("{name} room.rs:41")] {
                let entry = Entry::new(1, words.to_owned());
                assert!(entry.matches(&spellings), "{words}: {spellings:?}");
            }
        }
    }
}
