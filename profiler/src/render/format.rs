//! The output formats, by name and by file extension.

use std::fmt;
use std::path::Path;

use super::{HumanOptions, csv, human, json, jsonl};
use crate::error::{Error, ErrorKind, Result};
use crate::export;
use crate::report::Report;
use crate::text::Text;

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text for people.
    Human,
    /// The whole report, for programs.
    Json,
    /// JSON lines: one object for each finding and row.
    Jsonl,
    /// The first section as comma-separated values.
    Csv,
    /// Folded stacks.
    Folded,
    /// A flame graph.
    Svg,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 6] =
        [Format::Human, Format::Json, Format::Jsonl, Format::Csv, Format::Folded, Format::Svg];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Human => "human",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
            Format::Folded => "folded",
            Format::Svg => "svg",
        }
    }

    /// The file extension, without dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Format::Human => "txt",
            Format::Json | Format::Jsonl | Format::Csv | Format::Folded | Format::Svg => self.name(),
        }
    }

    /// Its purpose in a few words.
    pub const fn purpose(self) -> &'static str {
        match self {
            Format::Human => "text for people",
            Format::Json => "the whole report, for programs and for `profiler report`",
            Format::Jsonl => "one line of JSON per finding and row, for scripts",
            Format::Csv => "the rows of the first table, for spreadsheets and scripts",
            Format::Folded => "folded stacks, for other tools",
            Format::Svg => "a flame graph, for a browser",
        }
    }

    /// The format with this name.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if there is none.
    pub fn from_name(name: &str) -> Result<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            Error::on(ErrorKind::Usage, "there is no format", name)
                .hint(format_args!("the formats are {}", Format::ALL.map(Format::name).join(", ")))
        })
    }

    /// The format of a file, by its extension; case does not matter.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the extension is unknown or missing.
    pub fn from_path(path: &Path) -> Result<Format> {
        if path.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Usage, "tried to choose a format for a file")
                .because("its name is empty")
                .hint("is a variable behind -o not set?"));
        }
        let extension = path.extension().unwrap_or_default();
        let format =
            Format::ALL.into_iter().find(|format| extension.eq_ignore_ascii_case(format.extension()));
        format.ok_or_else(|| {
            let known = Format::ALL.map(|format| format!(".{} ({})", format.extension(), format.purpose()));
            Error::on(ErrorKind::Usage, "tried to choose a format for", Text::from(path))
                .because("the extension decides, and this one is not known")
                .hint(format_args!("the extensions are {}", known.join(", ")))
        })
    }

    /// Renders a report. Only [`human()`] uses `options`; exporters use their default weight.
    ///
    /// # Errors
    /// As [`export::folded`] and [`export::flamegraph`]; the other formats cannot fail.
    pub fn render(self, report: &Report, options: &HumanOptions) -> Result<String> {
        match self {
            Format::Human => Ok(human(report, options)),
            Format::Json => Ok(json(report)),
            Format::Jsonl => Ok(jsonl(report)),
            Format::Csv => Ok(csv(report)),
            Format::Folded => Ok(export::folded(report, None)?.to_file()),
            Format::Svg => export::flamegraph(report, None),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Format;
    use crate::error::ErrorKind;
    use crate::render::HumanOptions;
    use crate::report::sample;

    #[test]
    fn formats_are_found_by_name_and_extension() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Ok(format));
            let path = format!("a.b.{}", format.extension().to_uppercase());
            assert_eq!(Format::from_path(Path::new(&path)), Ok(format));
        }
    }

    #[test]
    fn errors_list_the_formats() {
        let error = Format::from_name("\x1bxml").unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Usage, r"there is no format \x1bxml")
        );
        assert_eq!(error.advice(), Some("the formats are human, json, jsonl, csv, folded, svg"));
        for path in ["leak", "leak.html", ".json", "leak.json.gz"] {
            let error = Format::from_path(Path::new(path)).unwrap_err();
            assert!(error.advice().unwrap().contains(".svg (a flame graph"), "{error:?}");
        }
    }

    #[test]
    fn every_format_renders_every_report() {
        let reports = [sample::pong(), sample::many(200), sample::many(0), sample::incomplete()];
        for report in reports.into_iter().chain([sample::hostile(), sample::timed()]) {
            for format in Format::ALL {
                let text = format.render(&report, &HumanOptions::default()).unwrap();
                assert!(text.ends_with('\n') || format == Format::Svg, "{format}");
            }
        }
    }
}
