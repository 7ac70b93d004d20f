//! Limits of a JSON file, checked before it is parsed: its depth, the number of its values, and the length of its strings.
//!
//! The parser allocates while it reads, so the limits must be checked first. This pass allocates nothing. It does not validate the
//! JSON, which the parser does, except that it refuses `NaN` and `Infinity` with a message of its own.

use thiserror::Error;

/// Deepest nesting. A report needs 8.
pub(super) const MAX_DEPTH: usize = 64;
/// Longest string, in bytes as written.
pub(super) const MAX_STRING_BYTES: usize = 64 << 10;
/// Most values. A file of the largest size with the shortest useful rows has fewer.
pub(super) const MAX_VALUES: usize = 16 << 20;

/// Why a file is not parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Refused {
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    Depth,
    #[error("it holds a string longer than {MAX_STRING_BYTES} bytes")]
    String,
    #[error("it holds more than {MAX_VALUES} values")]
    Values,
    #[error("it holds NaN or Infinity, which are not numbers in JSON")]
    NotANumber,
}

/// Checks the limits.
pub(super) fn scan(json: &[u8]) -> Result<(), Refused> {
    let (mut depth, mut values) = (0usize, 0usize);
    let mut rest = json.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_string(&mut rest)?,
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > MAX_DEPTH {
                    return Err(Refused::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            b'N' | b'I' => return Err(Refused::NotANumber),
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(Refused::Values);
        }
    }
    Ok(())
}

fn skip_string(rest: &mut std::slice::Iter<'_, u8>) -> Result<(), Refused> {
    let mut length = 0;
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => break,
            b'\\' => {
                rest.next();
                length += 2;
            }
            _ => length += 1,
        }
        if length > MAX_STRING_BYTES {
            return Err(Refused::String);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_inclusive() {
        let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert_eq!(scan(nested(MAX_DEPTH).as_bytes()), Ok(()));
        assert_eq!(scan(nested(MAX_DEPTH + 1).as_bytes()), Err(Refused::Depth));
        let string = |length: usize| format!("\"{}\"", "x".repeat(length));
        assert_eq!(scan(string(MAX_STRING_BYTES).as_bytes()), Ok(()));
        assert_eq!(scan(string(MAX_STRING_BYTES + 1).as_bytes()), Err(Refused::String));
        assert_eq!(scan(",".repeat(MAX_VALUES).as_bytes()), Ok(()));
        assert_eq!(scan(",".repeat(MAX_VALUES + 1).as_bytes()), Err(Refused::Values));
    }

    #[test]
    fn brackets_and_words_inside_strings_do_not_count() {
        let text = format!(r#"["{}", "\"NaN", "\\"]"#, "[".repeat(MAX_DEPTH));
        assert_eq!(scan(text.as_bytes()), Ok(()));
        assert_eq!(scan(br#"["\\", NaN]"#), Err(Refused::NotANumber));
        assert_eq!(scan(b"[-Infinity]"), Err(Refused::NotANumber));
    }

    #[test]
    fn half_a_string_is_left_to_the_parser() {
        assert_eq!(scan(br#"["abc\"#), Ok(()));
    }
}
