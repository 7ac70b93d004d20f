//! The flame graph: one SVG file that contains its script and loads nothing.
//!
//! Problems are red and at the left. Consecutive library calls are one frame.

mod layout;

use inferno::flamegraph::{
    self, Options,
    color::{Color, PaletteMap},
};

use self::layout::{Layout, Mark};
use super::folded::{Weighed, unit_name};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Report, Role, Section, Value};
use crate::text::visible;
use crate::units;

/// Stands for `;` inside a frame until the graph is drawn. It cannot occur in an escaped name.
const SEMICOLON: char = '\u{1}';

/// Draws the stacks of the report; `weight` is as in [`folded`](super::folded()). The same report always gives the same file.
///
/// # Errors
/// As [`folded`](super::folded()).
pub fn flamegraph(report: &Report, weight: Option<&str>) -> Result<String> {
    let weighed = Weighed::of(report, weight)?;
    let layout = Layout::of(report, &weighed);
    let tried = || Error::new(ErrorKind::Output, "tried to draw the flame graph");
    let mut palette = palette(&layout);
    let mut options = Options::default();
    options.title = title(report, &weighed);
    options.subtitle = subtitle(report, &weighed, &layout);
    options.count_name = unit_name(weighed.column.unit).to_owned();
    options.name_type = "Function:".to_owned();
    // Colours depend on names only, so that two graphs can be compared.
    options.hash = true;
    options.deterministic = true;
    // The lines are in order, problems first. A flame chart keeps their order, reversed; a flame graph would sort them.
    options.flame_chart = true;
    options.palette_map = palette.as_mut();
    let mut svg = Vec::new();
    if layout.lines.is_empty() {
        // Without stacks the file would be empty and look like a failure.
        let empty = ["[nothing to show] 1"];
        flamegraph::from_lines(&mut options, empty, &mut svg).map_err(|cause| tried().because_of(cause))?;
    } else {
        let lines: Vec<String> =
            layout.lines.iter().rev().map(|line| line.replace(r"\x3b", "\u{1}")).collect();
        let lines = lines.iter().map(String::as_str);
        flamegraph::from_lines(&mut options, lines, &mut svg).map_err(|cause| tried().because_of(cause))?;
    }
    let svg = String::from_utf8(svg).map_err(|cause| tried().because_of(cause))?;
    Ok(svg.replace(SEMICOLON, ";").replace([Mark::ALL, Mark::PART], ""))
}

/// Red for frames that lead only to problems, orange for frames that also lead to problems, and grey for the rest. `None` if there is no
/// problem, so that every function has its own colour.
fn palette(layout: &Layout) -> Option<PaletteMap> {
    if layout.problem == 0 {
        return None;
    }
    let mut palette = PaletteMap::default();
    // The root.
    palette.insert("", Color { r: 210, g: 210, b: 210 });
    for line in &layout.lines {
        let stack = line.rsplit_once(' ').map_or(line.as_str(), |(stack, _)| stack);
        for name in stack.split(';') {
            let shade = name.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % 40;
            let color = match Mark::of(name) {
                Some(Mark::ALL) => Color { r: 215 + shade, g: 45 + shade, b: 45 + shade },
                Some(_) => Color { r: 245, g: 165 + shade, b: 90 + shade },
                None => Color { r: 190 + shade, g: 190 + shade, b: 190 + shade },
            };
            palette.insert(name.replace(r"\x3b", "\u{1}"), color);
        }
    }
    Some(palette)
}

/// How many targets the title names; it counts the others.
const MOST_NAMED: usize = 3;

/// `sample: Live > 30m (bytes) of pong (4242)`.
fn title(report: &Report, weighed: &Weighed<'_>) -> String {
    let targets = &report.meta.targets;
    let named = targets.iter().take(MOST_NAMED);
    let names: Vec<String> =
        named.map(|target| format!("{} ({})", target.name.terminal(), target.pid)).collect();
    let more = match targets.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (weight, unit) = (visible(&weighed.column.title), unit_name(weighed.column.unit));
    format!("{}: {weight} ({unit}) of {}{more}", visible(&report.meta.tool), names.join(", "))
}

fn subtitle(report: &Report, weighed: &Weighed<'_>, layout: &Layout) -> Option<String> {
    let mut parts = Vec::new();
    if !report.coverage.complete {
        parts.push("INCOMPLETE: losses could change the picture".to_owned());
    }
    let amount = |weight: u64| match weighed.column.unit {
        crate::report::Unit::Bytes => units::bytes(weight as f64),
        _ => units::count(weight as f64),
    };
    if layout.problem > 0 {
        parts.push(format!("red: {}, {} of {}", word(report), amount(layout.problem), amount(layout.total)));
    }
    if layout.left_out > 0 {
        let held = amount(layout.total - layout.problem);
        let stacks = if layout.left_out == 1 { "stack" } else { "stacks" };
        let words =
            format!("{} other {stacks} with {held} not drawn, so that it can be seen", layout.left_out);
        parts.push(words);
    }
    let without_weight = weighed.without_weight(report);
    if without_weight > 0 {
        let stacks =
            units::plural(without_weight, "stack of unknown weight is", "stacks of unknown weight are");
        parts.push(format!("{stacks} not drawn"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The label of rows that are problems, from the first section that has some. In a detail section, not every stack of a problem has
/// that label.
fn word(report: &Report) -> String {
    let word = |section: &Section| {
        let row = section.rows.iter().find(|row| layout::is_problem(row))?;
        let mut labels =
            section.columns.iter().zip(&row.cells).filter(|(column, _)| column.role == Role::Label);
        labels.find_map(|(_, cell)| match cell {
            Value::Word(word) => Some(visible(word).into_owned()),
            _ => None,
        })
    };
    report.sections.iter().find_map(word).unwrap_or_else(|| "problems".to_owned())
}

#[cfg(test)]
mod tests {
    use super::flamegraph;
    use crate::report::sample;
    use crate::text::is_hidden;

    #[test]
    fn the_graph_names_functions_unit_and_target() {
        let svg = flamegraph(&sample::pong(), None).unwrap();
        for words in [
            "chat::History::push",
            "432,013,312 bytes",
            "sample: Live &gt; 30m (bytes) of pong (4242)",
            "search",
        ] {
            assert!(svg.contains(words), "{words}");
        }
    }

    /// Left edge in percent, colour, and title of every box.
    fn boxes(svg: &str) -> Vec<(f64, String, String)> {
        let between = |text: &str, from: &str, to: &str| {
            let (_, rest) = text.split_once(from)?;
            Some(rest.split_once(to)?.0.to_owned())
        };
        let one = |text: &str| {
            let left = between(text, "x=\"", "%\"")?.parse().ok()?;
            Some((left, between(text, "fill=\"", "\"")?, between(text, "<title>", "</title>")?))
        };
        svg.split("<g>").filter_map(one).collect()
    }

    #[test]
    fn problems_are_red_and_at_the_left_and_the_rest_is_grey() {
        let svg = flamegraph(&sample::pong(), None).unwrap();
        let boxes = boxes(&svg);
        let of = |name: &str| {
            let found = boxes.iter().find(|(_, _, title)| title.starts_with(name));
            let (left, fill, _) = found.unwrap_or_else(|| panic!("{name}: {boxes:?}"));
            let rgb: Vec<u8> =
                fill[4..fill.len() - 1].split(',').map(|n| n.trim().parse().unwrap()).collect();
            (*left, (rgb[0], rgb[1], rgb[2]))
        };
        let (left, (r, g, b)) = of("chat::History::push");
        assert!(left < 0.01 && r > 2 * g && r > 2 * b, "{left} {r} {g} {b}");
        let (left, (r, g, b)) = of("player::Session::new");
        assert!(left > 50.0 && r == g && g == b, "{left} {r} {g} {b}");
        let (left, (r, g, b)) = of("main");
        assert!(left < 0.01 && r > g && g > b, "{left} {r} {g} {b}");
        assert!(svg.contains("red: LEAK, 412 MiB of 602 MiB"), "{svg}");
    }

    /// Of two leaks below one function, the larger is drawn first.
    #[test]
    fn leaks_are_drawn_by_their_weight() {
        for names in [["a", "b"], ["b", "a"]] {
            let mut report = sample::pong();
            report.sections[0].rows[1].severity = report.sections[0].rows[0].severity;
            for (row, name) in names.into_iter().enumerate() {
                let stack = report.sections[0].rows[row].stack().unwrap();
                let outermost = *report.stacks[stack].frames.last().unwrap();
                let mut frame = report.frames[outermost].clone();
                frame.functions[0].name = name.into();
                report.frames.push(frame);
                let called = report.frames.len() - 1;
                let frames = &mut report.stacks[stack].frames;
                frames.insert(frames.len() - 1, called);
            }
            let svg = flamegraph(&report, None).unwrap();
            let left = |name: &str| {
                let begins = format!("{name} (");
                boxes(&svg).into_iter().find(|(_, _, title)| title.starts_with(&begins)).unwrap().0
            };
            assert!(left(names[0]) < 0.01 && left(names[1]) > 50.0, "{names:?}");
        }
    }

    #[test]
    fn a_very_small_leak_is_drawn_alone_with_a_note() {
        let mut report = sample::pong();
        report.sections[0].rows[0].cells[2] = crate::report::Value::Exact(1 << 20);
        let svg = flamegraph(&report, None).unwrap();
        assert!(svg.contains("1 other stack with 190 MiB not drawn"), "{svg}");
        assert!(!svg.contains("player::Session::new"));
    }

    #[test]
    fn stacks_of_a_site_that_leaks_have_its_label() {
        let mut report = sample::pong();
        let mut stacks = report.sections[0].clone();
        stacks.name = "stacks".to_owned();
        stacks.rows[0].cells[0] = crate::report::Value::Word("YOUNG".to_owned());
        report.sections.push(stacks);
        assert!(flamegraph(&report, None).unwrap().contains("red: LEAK, 412 MiB of 602 MiB"));
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
        let frame = report.stacks[0].frames[2];
        report.frames[frame].functions[0].name = "game::take<[u8; 4]>".into();
        let svg = flamegraph(&report, None).unwrap();
        assert!(svg.contains("game::take&lt;[u8; 4]&gt;"), "{svg}");
    }

    #[test]
    fn losses_are_written_on_the_graph() {
        assert!(flamegraph(&sample::incomplete(), None).unwrap().contains("INCOMPLETE"));
    }

    #[test]
    fn a_graph_without_stacks_says_so() {
        assert!(flamegraph(&sample::many(0), None).unwrap().contains("[nothing to show]"));
    }
}
