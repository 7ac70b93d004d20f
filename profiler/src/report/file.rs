//! Reads a report. The file may come from anybody, so its size is limited before it is parsed, and its content is checked
//! afterwards.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::error::Category;

use super::scan::scan;
use super::{OLDEST_SCHEMA, Report, SCHEMA, upgrade};
use crate::error::{Error, ErrorKind, Result};
use crate::text::Text;

/// Largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// Opens the file of a report.
///
/// # Errors
/// [`ErrorKind::InvalidFile`] if it cannot be opened.
pub(super) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "a report is readable for the user alone who wrote it: see `ls -l`, `chown`"
            }
            _ => HINT,
        };
        Error::on(ErrorKind::InvalidFile, TRIED, path).because_of(error).hint(hint)
    })
}

/// Reads a report; error messages use `name`.
///
/// # Errors
/// - [`ErrorKind::TruncatedFile`]: the JSON ends too early, for example because the disk was full.
/// - [`ErrorKind::NewerFile`]: the schema is newer than [`SCHEMA`].
/// - [`ErrorKind::InvalidFile`]: the file cannot be read, exceeds a limit (256 MiB, 64 levels, 64 KiB per string, 16 Mi
///   values), is not JSON, is not a report, or breaks an invariant ([`Report::check`]).
pub fn read(source: impl Read, name: &Text) -> Result<Report> {
    let error = |kind| Error::on(kind, TRIED, name.clone());
    let invalid = || error(ErrorKind::InvalidFile);
    let mut json = Vec::new();
    source
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut json)
        .map_err(|cause| invalid().because_of(cause).hint(HINT))?;
    if json.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid().because(format_args!("it is larger than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    if json.trim_ascii().is_empty() {
        return Err(error(ErrorKind::TruncatedFile).because("it is empty").hint(
            "did the command that was to write it fail? The shell empties the file after `>` before it runs the command",
        ));
    }
    if let Some((packing, unpack)) = packing(&json) {
        return Err(invalid()
            .because(format_args!("it is compressed ({packing})"))
            .hint(format_args!("{unpack} FILE | profiler report -")));
    }
    if json.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
        return Err(invalid()
            .because("it is not a report of profiler: that is JSON, and begins with {")
            .hint(HINT));
    }
    scan(&json).map_err(|cause| invalid().because(cause))?;
    let parse = |cause| parse_error(error, &json, &cause);
    let head: Head = serde_json::from_slice(&json).map_err(parse)?;
    match head.schema {
        None => return Err(invalid().because("it is JSON, but not a report of profiler").hint(HINT)),
        Some(schema) if schema > SCHEMA.into() => {
            return Err(error(ErrorKind::NewerFile)
                .because(format_args!("it has schema {schema}, and this version reads up to {SCHEMA}"))
                .hint("use the version of profiler that wrote it, or a newer one"));
        }
        Some(schema) if schema < OLDEST_SCHEMA.into() => {
            return Err(
                invalid().because(format_args!("there is no schema {schema}; the first was {OLDEST_SCHEMA}"))
            );
        }
        Some(_) => {}
    }
    let is_old = head.schema != Some(SCHEMA.into());
    let mut report: Report = if is_old {
        let mut old = serde_json::from_slice(&json).map_err(parse)?;
        upgrade::upgrade(&mut old);
        serde_json::from_value(old).map_err(parse)?
    } else {
        serde_json::from_slice(&json).map_err(parse)?
    };
    if is_old {
        report.tell_rows_apart();
    }
    report.sum_up();
    report.check().map_err(|defect| invalid().because("the report contradicts itself").because(defect))?;
    Ok(report)
}

const TRIED: &str = "tried to read the report";
const HINT: &str = "name a file that was written by `-o FILE.json`";
/// Longest part of the parser's message that is shown, in characters. The message quotes the file.
const MAX_MESSAGE: usize = 200;

/// The compression that the first bytes of a file show, and the command that decompresses it.
fn packing(file: &[u8]) -> Option<(&'static str, &'static str)> {
    let packings: [(&[u8], _); 3] = [
        (b"\x28\xb5\x2f\xfd", ("zstd", "zstdcat")),
        (b"\x1f\x8b", ("gzip", "zcat")),
        (b"\xfd7zXZ\0", ("xz", "xzcat")),
    ];
    packings.into_iter().find(|(magic, _)| file.starts_with(magic)).map(|(_, words)| words)
}

/// The part that is parsed first, because it decides how to parse the rest.
#[derive(Deserialize)]
struct Head {
    schema: Option<u64>,
}

fn parse_error(error: impl Fn(ErrorKind) -> Error, json: &[u8], cause: &serde_json::Error) -> Error {
    let mut words: String = cause.to_string().chars().take(MAX_MESSAGE).collect();
    let truncated = || {
        error(ErrorKind::TruncatedFile)
            .because(format_args!("the file ends too early, at line {}", cause.line()))
            .hint("was the disk full, or the file still being copied?")
    };
    // The parser reports a number that ends after its sign or decimal point as a syntax error.
    let half_a_number = json.last().is_some_and(|last| b"-+.eE".contains(last));
    match cause.classify() {
        Category::Syntax if half_a_number && at_end(json, cause) => truncated(),
        Category::Eof => truncated(),
        Category::Data => {
            error(ErrorKind::InvalidFile).because("it is JSON, but not a report").because(words)
        }
        // A file of several values may be our JSON lines.
        Category::Syntax if is_ours_as_lines(json) => error(ErrorKind::InvalidFile)
            .because("it is a report as lines (.jsonl), which is for scripts and has no call stacks")
            .hint("name the file that was written by `-o FILE.json`"),
        Category::Syntax | Category::Io => {
            words.insert_str(0, "it is not JSON: ");
            error(ErrorKind::InvalidFile).because(words)
        }
    }
}

/// Whether the first line is one that `--format jsonl` writes.
fn is_ours_as_lines(json: &[u8]) -> bool {
    let first = json.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = serde_json::from_slice::<serde_json::Value>(first).ok();
    first.is_some_and(|first| first.get("kind").is_some_and(|kind| kind == "report"))
}

/// Whether the parser failed at the last byte.
fn at_end(json: &[u8], cause: &serde_json::Error) -> bool {
    let mut lines = json.split(|byte| *byte == b'\n');
    let last = lines.next_back().map_or(0, <[u8]>::len);
    cause.line() == lines.count() + 1 && cause.column() >= last
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::{MAX_FILE_BYTES, open, read};
    use crate::error::{Error, ErrorKind};
    use crate::exit::ExitCode;
    use crate::render;
    use crate::report::sample;
    use crate::text::Text;

    fn refused(json: impl AsRef<[u8]>) -> Error {
        read(json.as_ref(), &Text::from("a.json")).unwrap_err()
    }

    fn changed(change: impl FnOnce(&mut Json)) -> Error {
        let mut json = serde_json::to_value(sample::pong()).unwrap();
        change(&mut json);
        refused(json.to_string())
    }

    #[test]
    fn a_written_report_reads_back_unchanged() {
        for report in
            [sample::pong(), sample::hostile(), sample::many(200), sample::incomplete(), sample::timed()]
        {
            let text = render::json(&report);
            assert_eq!(read(text.as_bytes(), &Text::from("a.json")).unwrap(), report);
        }
    }

    #[test]
    fn half_a_file_is_truncated_wherever_it_ends() {
        let text = render::json(&sample::pong());
        for end in (0..text.trim_end().len()).step_by(97) {
            let error = refused(&text.as_bytes()[..end]);
            assert_eq!(error.kind(), ErrorKind::TruncatedFile, "{end}: {error}");
            assert_eq!(error.exit_code(), ExitCode::Incomplete);
        }
        for half in ["{\"schema\":1,\n\"meta\":-", "{\"schema\":1,\"meta\":1.", "{\"schema\":1,\"meta\":1e"] {
            assert_eq!(refused(half).kind(), ErrorKind::TruncatedFile, "{half}");
        }
        assert_eq!(refused("{\"schema\":-,\"meta\":1e").kind(), ErrorKind::InvalidFile);
    }

    #[test]
    fn an_empty_file_and_a_compressed_one_are_called_so() {
        for empty in ["", " \n"] {
            let error = refused(empty);
            assert_eq!(error.kind(), ErrorKind::TruncatedFile);
            assert!(error.to_string().ends_with(": it is empty"), "{error}");
        }
        for (start, packing, unpack) in [
            (&b"\x28\xb5\x2f\xfd\x24"[..], "zstd", "zstdcat"),
            (b"\x1f\x8b\x08", "gzip", "zcat"),
            (b"\xfd7zXZ\0\0", "xz", "xzcat"),
        ] {
            let error = refused(start);
            assert!(error.to_string().ends_with(&format!("it is compressed ({packing})")), "{error}");
            assert_eq!(error.advice(), Some(format!("{unpack} FILE | profiler report -").as_str()));
        }
    }

    #[test]
    fn a_report_as_json_lines_has_its_own_message() {
        let error = refused(render::jsonl(&sample::pong()));
        assert_eq!(error.kind(), ErrorKind::InvalidFile);
        assert!(error.to_string().contains("it is a report as lines (.jsonl)"), "{error}");
        assert!(error.advice().unwrap().contains("-o FILE.json"));
        assert!(refused("{\"a\":1}\n{\"a\":2}\n").to_string().contains("trailing characters"));
    }

    #[test]
    fn a_newer_schema_is_refused_and_both_are_named() {
        let error = changed(|json| json["schema"] = json!(7));
        assert_eq!(error.kind(), ErrorKind::NewerFile);
        assert_eq!(
            error.to_string(),
            "tried to read the report a.json: it has schema 7, and this version reads up to 2"
        );
        assert!(refused(r#"{"schema": 3}"#).to_string().contains("schema 3"));
        assert!(refused(r#"{"schema": 0}"#).to_string().contains("no schema 0"));
    }

    #[test]
    fn each_kind_of_bad_file_has_its_own_message() {
        for (json, message) in [
            ("{\"schema\":1,}", "it is not JSON"),
            ("[1]", "it is not a report of profiler"),
            ("7", "it is not a report of profiler"),
            ("root:x:0:0:NaN:/root:/bin/sh", "it is not a report of profiler"),
            ("\x7fELF\x02", "it is not a report of profiler"),
            ("{}", "it is JSON, but not a report of profiler"),
            ("{\"schema\":1}", "missing field `meta`"),
            ("{\"schema\":1,\"schema\":1}", "duplicate field"),
            ("{\"schema\":-1}", "invalid value"),
            ("{\"schema\":NaN}", "NaN"),
            ("{\"schema\":1} x", "trailing characters"),
        ] {
            let error = refused(json);
            assert_eq!(error.kind(), ErrorKind::InvalidFile, "{json}");
            assert!(error.to_string().contains(message), "{json}: {error}");
        }
    }

    #[test]
    fn a_report_that_contradicts_itself_is_refused() {
        let row = "/sections/0/rows/0";
        for (pointer, value, message) in [
            ("/findings", json!([]), "no finding"),
            (&format!("{row}/cells"), json!([]), "0 cells for 13 columns"),
            (&format!("{row}/stacks/0/stack"), json!(999), "a stack that does not exist"),
            (&format!("{row}/cells/1"), json!({"name": "player::Session::new"}), "two rows with one key"),
            ("/stacks/0/id", json!("X"), "stack 0 has no valid id"),
            (
                "/findings/0/evidence/0/value",
                json!({"estimate": {"value": 1.0, "low": 2.0, "high": null}}),
                "finding 0, evidence 0",
            ),
            (
                &format!("{row}/cells/0"),
                json!({"estimate": {"value": 5.0, "low": 6.0, "high": null}}),
                "interval",
            ),
            ("/stacks/0/frames/0", json!(999), "a frame that does not exist"),
            ("/findings/0/rows/0/row", json!(999), "finding 0 refers to a row that does not exist"),
            ("/coverage/ledger/0/hits", json!(1), "does not add up"),
            ("/coverage/walks/walks", json!(1), "walks of stacks do not add up"),
            ("/coverage/walks/cut/0/stacks", json!(1u64 << 40), "walks of stacks do not add up"),
            ("/coverage/walks/named_frames", json!(u64::MAX), "walks of stacks do not add up"),
            ("/coverage/incomplete_because", json!(["lost"]), "marked complete"),
            ("/meta/cost/hits_per_s", json!(-1.0), "hits_per_s"),
            ("/frames/0/unresolved", json!("because"), "a name and a reason"),
        ] {
            let error = changed(|json| *json.pointer_mut(pointer).unwrap() = value);
            assert!(error.to_string().contains(message), "{pointer}: {error}");
        }
    }

    #[test]
    fn negative_and_overflowing_numbers_are_refused() {
        for (pointer, number) in [("/meta/length_ns", "-1"), ("/meta/cost/hits", "18446744073709551616")] {
            let json = serde_json::to_value(sample::pong()).unwrap();
            let number: Json = serde_json::from_str(number).unwrap();
            let error = changed(|json| *json.pointer_mut(pointer).unwrap() = number);
            assert!(
                error.to_string().contains("invalid"),
                "{pointer} of {:?}: {error}",
                json.pointer(pointer)
            );
        }
        assert!(refused(r#"{"schema":1e999}"#).to_string().contains("number out of range"));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut json = serde_json::to_value(sample::pong()).unwrap();
        json["meta"]["invented_later"] = json!({"a": [1, 2, 3]});
        assert_eq!(read(json.to_string().as_bytes(), &Text::from("a")).unwrap(), sample::pong());
    }

    #[test]
    fn reports_of_versions_without_rules_open_and_their_findings_get_a_text() {
        let mut json = serde_json::to_value(sample::pong()).unwrap();
        for row in json["sections"][0]["rows"].as_array_mut().unwrap() {
            let stack = row["stacks"][0]["stack"].clone();
            row.as_object_mut().unwrap().insert("stack".to_owned(), stack);
            row.as_object_mut().unwrap().remove("stacks").unwrap();
        }
        json["schema"] = json!(1);
        json.as_object_mut().unwrap().remove("verdict").unwrap();
        for field in ["started", "length_ms"] {
            json["meta"].as_object_mut().unwrap().remove(field).unwrap();
        }
        for finding in json["findings"].as_array_mut().unwrap() {
            for field in ["rule", "text", "rows", "evidence"] {
                finding.as_object_mut().unwrap().remove(field).unwrap();
            }
        }
        let report = read(json.to_string().as_bytes(), &Text::from("a")).unwrap();
        assert_eq!((report.findings[0].rule.as_ref(), report.findings[0].rows.len()), ("", 0));
        assert_eq!(report.findings[0].text, sample::pong().findings[0].text);
        assert_eq!((report.verdict.word.as_str(), report.verdict.problem_sites), ("problem", 1));
        assert_eq!(report.meta, sample::pong().meta);
    }

    #[test]
    fn the_text_of_a_finding_is_that_of_its_sentence_whatever_the_file_says() {
        let mut json = serde_json::to_value(sample::pong()).unwrap();
        json["findings"][0]["text"] = json!("No leak found.");
        assert_eq!(read(json.to_string().as_bytes(), &Text::from("a")).unwrap(), sample::pong());
    }

    #[test]
    fn a_file_over_the_size_limit_is_refused_before_parsing() {
        let error = read(std::io::repeat(b' ').take(MAX_FILE_BYTES + 5), &Text::from("a")).unwrap_err();
        assert!(error.to_string().contains("larger than 256 MiB"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named_and_escaped() {
        let error = open(std::path::Path::new("/nonexistent/\x1b[2J")).unwrap_err();
        let message =
            r"tried to read the report /nonexistent/\x1b[2J: No such file or directory (os error 2)";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidFile, message));
    }

    use std::io::Read as _;
}
