//! The live view: a status line, the answer so far, as many rows of the first table as fit on the screen, and curves of what another table
//! has over time.

use std::collections::HashSet;

use super::{HumanOptions, cell, fit, more_rows, page::Page, sentence, style::Style, style_of, table};
use crate::report::{Report, Role, Row, RowRef, Section, Unit, Value};

/// Least height of the screen, in lines, at which the table is shown.
const LEAST_ROWS: usize = 6;
/// The same for curves.
const LEAST_ROWS_WITH_CURVES: usize = 20;
/// How many curves there are at most.
const CURVES: usize = 3;

/// The view as at most `rows` lines of at most `options.width` columns. `status` is the first line. `report` is `None` until the first
/// interim report.
pub fn live(status: &str, report: Option<&Report>, options: &HumanOptions, rows: usize) -> Vec<String> {
    let mut page = Page::cropped(options);
    page.line(Style::Strong, status);
    if let Some(report) = report.filter(|_| rows > 1) {
        page.blank();
        for finding in &report.findings {
            page.paragraph(style_of(finding.severity), "", &sentence(finding));
        }
        let section = report.sections.iter().find(|section| !section.rows.is_empty());
        if let Some(section) = section.filter(|_| rows >= LEAST_ROWS) {
            // The table gets half of the screen, however long the answer is.
            page.truncate(rows / 2);
            page.blank();
            let curves = if rows < LEAST_ROWS_WITH_CURVES { Vec::new() } else { curves(report, section) };
            write_rows(&mut page, report, section, options, rows - curves.len());
            for line in curves {
                page.line(Style::Dim, &line);
            }
        }
    }
    if report.is_none() {
        page.blank();
        page.line(Style::Dim, "no interim report yet");
    }
    page.truncate(rows);
    page.finish().lines().map(str::to_owned).collect()
}

/// The rows of a section that are shown, beginning with those that the answer names.
fn in_order_of_the_answer<'a>(report: &'a Report, section: &'a Section) -> Vec<&'a Row> {
    let unfolded = section.folded.as_ref().map_or(section.rows.len(), |folded| folded.from_row);
    let is_here = |at: &&RowRef| report.sections.get(at.section).is_some_and(|of| std::ptr::eq(of, section));
    let named = report.findings.first().into_iter().flat_map(|answer| &answer.rows).filter(is_here);
    let mut taken = HashSet::new();
    let places = named.map(|at| at.row).chain(0..unfolded).filter(|row| taken.insert(*row));
    places.filter_map(|place| section.rows.get(place)).collect()
}

/// What the first rows of another table have over time, after an empty line and a title. Of several such columns, one of times, in which a stall
/// stands out.
fn curves(report: &Report, first: &Section) -> Vec<String> {
    let of_section = |section: &Section| {
        let has_curves = |place: &usize| {
            section.rows.iter().any(|row| matches!(row.cells.get(*place), Some(Value::Series(_))))
        };
        let places: Vec<usize> = (0..section.columns.len()).filter(has_curves).collect();
        let of = |place: &usize| section.columns.get(*place).map(|column| (*place, column));
        let all = || places.iter().filter_map(of);
        let (place, column) =
            all().find(|(_, column)| column.unit == Unit::Nanos).or_else(|| all().next())?;
        let name = |row: &Row| {
            let keys = section.columns.iter().zip(&row.cells);
            let keys = keys.filter(|(column, _)| column.shown && column.role == Role::Key);
            keys.map(|(column, key)| cell::text(key, column.unit, false)).collect::<Vec<_>>().join(" ")
        };
        let named: Vec<(String, &Value)> = section
            .rows
            .iter()
            .take(CURVES)
            .filter_map(|row| Some((name(row), row.cells.get(place)?)))
            .collect();
        let widest = named.iter().map(|(name, _)| fit::width(name)).max()?;
        let title = format!("  {}", cell::title(column));
        let line = |(name, value): &(String, &Value)| {
            let room = widest - fit::width(name);
            format!("  {name}{:room$}  {}", "", cell::text(value, column.unit, false))
        };
        Some([String::new(), title].into_iter().chain(named.iter().map(line)).collect())
    };
    let others = report.sections.iter().filter(|section| !std::ptr::eq(*section, first));
    others.filter_map(of_section).next().unwrap_or_default()
}

/// Writes the rows that fit, and the number of the others.
fn write_rows(page: &mut Page, report: &Report, section: &Section, options: &HumanOptions, rows: usize) {
    let mut candidates = in_order_of_the_answer(report, section);
    candidates.truncate(options.top.min(rows));
    let laid = table::lay_out(section, &candidates, options.width, false, options.ascii);
    for line in &laid.header {
        page.line(Style::Dim, line);
    }
    let mut shown = 0;
    for (row, lines) in candidates.iter().zip(&laid.rows) {
        // Keep the last line for the number of rows that are not shown.
        if page.height() + lines.len() + 1 > rows {
            break;
        }
        for line in lines {
            page.line(row.severity.map_or(Style::Plain, style_of), line);
        }
        shown += 1;
    }
    let more = match section.rows.len() - shown {
        0 => "  Ctrl-C: the whole report".to_owned(),
        more => format!("  {}; Ctrl-C: the whole report", more_rows(more)),
    };
    page.line(Style::Dim, &fit::start(&more, options.width));
}

#[cfg(test)]
mod tests {
    use super::{HumanOptions, fit, live};
    use crate::report::{Folded, RowRef, Series, Unit, Value, sample};

    const STATUS: &str = "14:03:22  1m5s of 30m, 28m55s to go, 92k hits/s, cost ~6.3 %, 0 lost";

    fn at(width: usize, rows: usize, report: &crate::report::Report) -> Vec<String> {
        live(STATUS, Some(report), &HumanOptions { width, ..HumanOptions::default() }, rows)
    }

    #[test]
    fn it_fits_every_screen() {
        let reports =
            [sample::pong(), sample::many(200), sample::many(0), sample::incomplete(), sample::hostile()];
        for report in reports {
            for (width, rows) in (1..60).flat_map(|rows| [(20, rows), (60, rows), (80, rows), (200, rows)]) {
                let lines = at(width, rows, &report);
                assert!(!lines.is_empty() && lines.len() <= rows, "{} lines on {rows}", lines.len());
                let wide = lines.iter().find(|line| fit::width(line) > width);
                assert_eq!(wide, None, "on {width}x{rows}");
            }
        }
        assert_eq!(live(STATUS, None, &HumanOptions::default(), 24), [STATUS, "", "no interim report yet"]);
        assert_eq!(live(STATUS, None, &HumanOptions::default(), 1), [STATUS]);
    }

    #[test]
    fn a_screen_of_80x24() {
        let expected = "\
14:03:22  1m5s of 30m, 28m55s to go, 92k hits/s, cost ~6.3 %, 0 lost

LEAK: 1 of 214 call stacks keeps every block it allocates: chat::History::push
grows by 549 MiB/h and holds 412 MiB that are older than 30m.
Growth seen covers 561 of 580 MiB of anonymous memory.

                                     Live >           Survive   Freed
  Verdict     Function                  30m     Live      30m  late/h   Growth/h
  LEAK        chat::History::push   412 MiB  549 MiB    ~1.00   <0.02  ~+549 MiB
  LONG-LIVED  player::Session::new  190 MiB  327 MiB    ~0.30    ~2.4       ~0 B
  CACHE       asset::…::insert          0 B  137 MiB    ~0.00    ~240          ?
  Ctrl-C: the whole report";
        assert_eq!(at(80, 24, &sample::pong()).join("\n"), expected);
        let many = at(80, 24, &sample::many(200));
        assert_eq!(many.len(), 24, "{many:#?}");
        assert_eq!(many[23], "  185 more rows; Ctrl-C: the whole report");
    }

    #[test]
    fn curves_are_below_the_table() {
        let mut report = sample::pong();
        let mut over_time = report.sections[0].clone();
        over_time.rows.truncate(2);
        let place = over_time.columns.iter().position(|column| column.unit == Unit::Bytes).unwrap();
        for (row, last) in over_time.rows.iter_mut().zip([30.0, 4.0]) {
            let values = vec![Some(1.0), None, Some(last)];
            let (name, unit) = ("longest".to_owned(), Unit::Nanos);
            row.cells[place] =
                Value::Series(Series { name, unit, start_ns: 0, step_ns: 1_000_000_000, values });
        }
        over_time.columns[place].title = "Longest over time".to_owned();
        report.sections.push(over_time);
        let lines = at(80, 24, &report);
        let title = lines.iter().position(|line| line.contains("Longest over time")).unwrap();
        assert_eq!(lines[title - 1], "", "{lines:#?}");
        assert!(
            lines[title + 1].starts_with("  chat::History::push") && lines[title + 1].ends_with("max 30 ns"),
            "{lines:#?}"
        );
        assert!(lines[title + 2].ends_with("max 4 ns"), "{lines:#?}");
        let small = at(80, 12, &report);
        assert!(!small.iter().any(|line| line.contains("over time")), "there is no room: {small:#?}");
    }

    #[test]
    fn the_answer_comes_first_and_the_table_gets_half_of_the_screen() {
        let mut report = sample::many(200);
        report.findings = vec![report.findings[0].clone(); 30];
        let lines = at(80, 24, &report);
        assert!(lines[2].starts_with("LEAK: 1 of 214"), "{lines:#?}");
        assert!(lines[15..].iter().any(|line| line.starts_with("  LEAK ")), "{lines:#?}");
        assert_eq!(at(80, 1, &report), [STATUS]);
        assert!(at(80, 3, &report)[2].starts_with("LEAK"), "{:?}", at(80, 3, &report));
    }
    #[test]
    fn rows_that_the_answer_names_come_first() {
        let mut report = sample::pong();
        report.findings[0].rows = vec![RowRef { section: 0, row: 2 }];
        let lines = at(80, 24, &report);
        let at = |word: &str| lines.iter().position(|line| line.starts_with(&format!("  {word} "))).unwrap();
        assert!(at("CACHE") < at("LEAK") && at("LEAK") < at("LONG-LIVED"), "{lines:#?}");
        // Folded rows too, and no row twice.
        report.findings[0].rows = vec![RowRef { section: 0, row: 2 }; 2];
        report.sections[0].folded = Some(Folded { from_row: 1, text: "2 more".to_owned() });
        let lines = live(STATUS, Some(&report), &HumanOptions::default(), 24);
        let rows: Vec<&str> = lines.iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(
            rows.iter().filter(|word| ["CACHE", "LONG-LIVED"].contains(word)).count(),
            1,
            "{lines:#?}"
        );
    }
}
