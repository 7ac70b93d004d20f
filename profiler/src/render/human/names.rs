//! Where the names of functions come from.

use super::page::Page;
use super::style::Style;
use crate::report::{Coverage, FileNames};
use crate::text::visible;

/// What could not be read that has names or lines; on demand also what was read.
pub(super) fn write(page: &mut Page, coverage: &Coverage, verbose: bool) {
    for file in &coverage.files {
        for problem in &file.problems {
            page.paragraph(
                Style::Warn,
                "          ",
                &format!("names of {}: {}", name(file), visible(problem)),
            );
        }
        if verbose {
            page.paragraph(Style::Plain, "          ", &sources(file));
        }
    }
}

/// `names of libfoo.so: from exported symbols (.dynsym); not there: a debug file (build id 0123)`.
fn sources(file: &FileNames) -> String {
    let list = |words: &[String]| words.iter().map(|w| visible(w)).collect::<Vec<_>>().join(", ");
    let from = if file.sources.is_empty() {
        "from nothing".to_owned()
    } else {
        format!("from {}", list(&file.sources))
    };
    let absent = match file.absent.as_slice() {
        [] => String::new(),
        absent => format!("; not there: {}", list(absent)),
    };
    format!("names of {}: {from}{absent}", name(file))
}

fn name(file: &FileNames) -> String {
    let path = file.module.terminal();
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::HumanOptions;
    use crate::text::Text;

    #[test]
    fn what_was_read_and_what_was_not_are_told_apart() {
        let file = FileNames {
            module: Text::from("/srv/server"),
            build_id: None,
            sources: vec!["exported symbols (.dynsym)".to_owned()],
            problems: vec![
                ".debug_info of the file itself cannot be read: it is truncated or damaged".to_owned(),
            ],
            absent: vec!["a debug file (build id 0123)".to_owned()],
        };
        let coverage = Coverage { files: vec![file], ..Coverage::default() };
        let shown = |verbose| {
            let mut page = Page::new(&HumanOptions { width: 200, ..HumanOptions::default() });
            write(&mut page, &coverage, verbose);
            page.finish()
        };
        let short = shown(false);
        assert!(short.contains("names of server: .debug_info of the file itself cannot be read"), "{short}");
        assert!(!short.contains(".dynsym"), "{short}");
        let long = shown(true);
        let expected =
            "names of server: from exported symbols (.dynsym); not there: a debug file (build id 0123)";
        assert!(long.contains(expected), "{long}");
    }
}
