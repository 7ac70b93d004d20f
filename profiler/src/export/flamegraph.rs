//! The flame graph: one SVG file with its script inside, which loads nothing from anywhere.

use inferno::flamegraph::{self, Options};

use super::folded::{folded, unit_name};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Report;
use crate::text::visible;

/// Stands for `;` inside of a frame until the graph is drawn. No escaped name holds it.
const SEMICOLON: char = '\u{1}';

/// Draws the stacks of the report; `weight` as in [`folded`]. The same report gives the same file.
///
/// # Errors
/// As [`folded`].
pub fn flamegraph(report: &Report, weight: Option<&str>) -> Result<String> {
    let folded = folded(report, weight)?;
    let tried = || Error::new(ErrorKind::Output, "tried to draw the flame graph");
    let mut options = Options::default();
    options.title = title(report, &folded.title);
    options.subtitle = subtitle(report, folded.without_weight);
    options.count_name = unit_name(folded.unit).to_owned();
    options.name_type = "Function:".to_owned();
    // Colours follow from the names, not from chance, so that two graphs can be compared.
    options.hash = true;
    options.deterministic = true;
    let mut svg = Vec::new();
    if folded.lines.is_empty() {
        // Without a single stack nothing would be drawn, and the file would look like a failure.
        let empty = ["[nothing to show] 1"];
        flamegraph::from_lines(&mut options, empty, &mut svg).map_err(|cause| tried().because_of(&cause))?;
    } else {
        let lines: Vec<String> = folded.lines.iter().map(|line| line.replace(r"\x3b", "\u{1}")).collect();
        let lines = lines.iter().map(String::as_str);
        flamegraph::from_lines(&mut options, lines, &mut svg).map_err(|cause| tried().because_of(&cause))?;
    }
    let svg = String::from_utf8(svg).map_err(|cause| tried().because_of(&cause))?;
    Ok(svg.replace(SEMICOLON, ";"))
}

fn title(report: &Report, weight: &str) -> String {
    let names: Vec<String> = report
        .meta
        .targets
        .iter()
        .map(|target| format!("{} ({})", target.name.terminal(), target.pid))
        .collect();
    format!("{}: {} of {}", visible(&report.meta.tool), visible(weight), names.join(", "))
}

fn subtitle(report: &Report, without_weight: usize) -> Option<String> {
    let mut parts = Vec::new();
    if !report.coverage.complete {
        parts.push("INCOMPLETE: losses could change the picture".to_owned());
    }
    if without_weight > 0 {
        parts.push(format!("{without_weight} stacks of unknown weight are not shown"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::flamegraph;
    use crate::report::sample;
    use crate::text::is_hidden;

    #[test]
    fn the_graph_names_functions_unit_and_target() {
        let svg = flamegraph(&sample::pong(), None).unwrap();
        for words in
            ["chat::History::push", "432,013,312 bytes", "memleak: Live &gt; 30m of pong (4242)", "search"]
        {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn the_same_report_gives_the_same_file() {
        assert_eq!(
            flamegraph(&sample::many(30), None).unwrap(),
            flamegraph(&sample::many(30), None).unwrap()
        );
    }

    #[test]
    fn it_loads_nothing() {
        let svg = flamegraph(&sample::pong(), None).unwrap();
        for load in ["href=", "src=", "url(", "@import", "import(", "fetch(", "XMLHttpRequest", "WebSocket"] {
            // A reference to a part of the file itself starts with `#`.
            let foreign = svg
                .match_indices(load)
                .map(|(at, _)| &svg[at + load.len()..])
                .find(|rest| !rest.trim_start_matches(['"', '\'']).starts_with('#'));
            assert_eq!(foreign.map(|rest| &rest[..40]), None, "{load}");
        }
    }

    #[test]
    fn hostile_names_are_text() {
        let svg = flamegraph(&sample::hostile(), None).unwrap();
        assert!(!svg.contains("<script>alert"));
        assert!(svg.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;"));
        let kept = |c: char| is_hidden(c) && c != '\n' && c != '\t' && c != '\r';
        assert!(!svg.contains(kept), "{:?}", svg.find(kept));
    }

    #[test]
    fn a_semicolon_in_a_name_is_shown_as_one() {
        let mut report = sample::pong();
        report.frames[1].functions[0].name = "take<[u8; 4]>".into();
        let svg = flamegraph(&report, None).unwrap();
        assert!(svg.contains("take&lt;[u8; 4]&gt;"));
    }

    #[test]
    fn losses_are_written_on_the_graph() {
        assert!(flamegraph(&sample::incomplete(), None).unwrap().contains("INCOMPLETE"));
    }

    #[test]
    fn nothing_to_show_is_a_graph_that_says_so() {
        assert!(flamegraph(&sample::many(0), None).unwrap().contains("[nothing to show]"));
    }
}
