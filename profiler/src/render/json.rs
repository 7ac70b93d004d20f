//! The whole report as JSON, in a stable order, indented by two spaces.
//!
//! JSON only requires control characters below U+0020 to be escaped. Here all hidden characters are escaped, because people look at
//! JSON in terminals.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::report::Report;
use crate::text::is_hidden;

/// The report as JSON, with a newline at the end. Numbers that are not finite are written as unknown.
pub fn json(report: &Report) -> String {
    let mut sound = Cow::Borrowed(report);
    if report.check().is_err() {
        sound.to_mut().mend();
    }
    let mut out = Vec::new();
    // Writing to memory cannot fail, and no map in a report has keys that are not strings.
    let result = write(sound.as_ref(), &mut out);
    debug_assert!(result.is_ok(), "{result:?}");
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes a value as JSON in this form, with a newline at the end.
pub fn write(value: &impl Serialize, mut out: impl Write) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut out, Escaping(PrettyFormatter::new())))?;
    out.write_all(b"\n")
}

/// A value as one line of JSON in this form, with a newline at the end.
pub(super) fn line(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    // Writing to memory cannot fail, and our keys are strings.
    let result = value.serialize(&mut Serializer::with_formatter(&mut out, Escaping(CompactFormatter)));
    debug_assert!(result.is_ok(), "{result:?}");
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

/// A formatter of serde_json that also escapes hidden characters as `\uXXXX`.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hidden) {
            let (plain, hidden) = rest.split_at(at);
            out.write_all(plain.as_bytes())?;
            let mut chars = hidden.chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        self.0.write_char_escape(out, escape)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{json, write};
    use crate::report::{Value, sample};
    use crate::text::{Text, is_hidden};

    fn to_json(value: &str) -> String {
        let mut out = Vec::new();
        write(&value, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hidden_characters_are_escaped_also_beyond_the_basic_plane() {
        assert_eq!(
            to_json("a\x1b\x7f\u{9b}\u{202e}\u{e0041}\"z"),
            "\"a\\u001b\\u007f\\u009b\\u202e\\udb40\\udc41\\\"z\"\n"
        );
    }

    #[test]
    fn a_report_full_of_hostile_text_is_printable_and_reads_back() {
        let report = sample::hostile();
        let text = json(&report);
        assert!(!text.replace('\n', "").contains(is_hidden));
        assert_eq!(serde_json::from_str::<crate::report::Report>(&text).unwrap(), report);
    }

    #[test]
    fn rows_with_one_key_do_not_make_the_file_unreadable() {
        let mut report = sample::pong();
        let row = report.sections[0].rows[0].clone();
        report.sections[0].rows.push(row);
        assert!(report.check().is_err());
        let read = crate::report::read(json(&report).as_bytes(), &Text::from("a.json")).unwrap();
        assert_eq!(read.sections[0].columns.last().unwrap().name, "nth");
        assert_eq!(read.sections[0].rows.len(), 4);
    }

    #[test]
    fn a_number_that_is_not_finite_becomes_unknown() {
        let mut report = sample::pong();
        report.sections[0].rows[0].cells[9] = Value::Estimate { value: f64::NAN, low: 0.0, high: None };
        report.meta.cost.hits_per_s = Some(f64::INFINITY);
        let read = crate::report::read(json(&report).as_bytes(), &Text::from("a.json")).unwrap();
        assert!(matches!(&read.sections[0].rows[0].cells[9], Value::Unknown(why) if why.contains("defect")));
        assert_eq!(read.meta.cost.hits_per_s, None);
    }

    proptest! {
        #[test]
        fn any_string_reads_back(value in any::<String>()) {
            let text = to_json(&value);
            prop_assert!(!text.trim_end().contains(is_hidden));
            prop_assert_eq!(serde_json::from_str::<Text>(&text).unwrap(), Text::from(value));
        }
    }
}
