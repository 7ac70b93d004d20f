//! RESP2, the protocol of Redis: what both ends of the backend's connection speak.

use std::io::{self, BufRead, Read};

/// Longest bulk string that is taken, in bytes.
const BULK_BYTES: usize = 1 << 20;
/// Longest array that is taken: an `MGET` for everybody has a key for each item of each player.
const ARRAY_LENGTH: usize = 1 << 21;
/// Longest line that is taken, in bytes.
const LINE_BYTES: u64 = 1024;

/// A value on the wire. Arrays hold no arrays: none of the commands that we use answers with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Simple(String),
    Error(String),
    Integer(i64),
    /// `None` is what a key that does not exist has.
    Bulk(Option<Vec<u8>>),
    Array(Vec<Value>),
}

impl Value {
    /// A bulk string.
    pub(crate) fn bulk(text: impl Into<Vec<u8>>) -> Self {
        Self::Bulk(Some(text.into()))
    }

    /// Adds the value to what is to be sent.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Simple(text) => line(into, b'+', text),
            Self::Error(text) => line(into, b'-', text),
            Self::Integer(number) => line(into, b':', &number.to_string()),
            Self::Bulk(None) => line(into, b'$', "-1"),
            Self::Bulk(Some(bytes)) => bulk(into, bytes),
            Self::Array(values) => {
                line(into, b'*', &values.len().to_string());
                values.iter().for_each(|value| value.encode(into));
            }
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// If the other side has gone, or says what is not RESP2 or too long.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let (kind, text) = read_line(from)?;
        match kind {
            b'*' => {
                let length = length(&text, ARRAY_LENGTH)?.unwrap_or(0);
                // Memory follows what has arrived, not what was announced.
                let mut values = Vec::new();
                for _ in 0..length {
                    let (kind, text) = read_line(from)?;
                    values.push(read_flat(kind, text, from)?);
                }
                Ok(Self::Array(values))
            }
            kind => read_flat(kind, text, from),
        }
    }
}

/// Adds a command, which is an array of bulk strings.
pub(crate) fn command(into: &mut Vec<u8>, words: &[&[u8]]) {
    line(into, b'*', &words.len().to_string());
    words.iter().for_each(|word| bulk(into, word));
}

fn bulk(into: &mut Vec<u8>, bytes: &[u8]) {
    line(into, b'$', &bytes.len().to_string());
    into.extend(bytes);
    into.extend(b"\r\n");
}

fn line(into: &mut Vec<u8>, kind: u8, text: &str) {
    into.push(kind);
    into.extend(text.as_bytes());
    into.extend(b"\r\n");
}

fn read_flat(kind: u8, text: String, from: &mut impl BufRead) -> io::Result<Value> {
    match kind {
        b'+' => Ok(Value::Simple(text)),
        b'-' => Ok(Value::Error(text)),
        b':' => text.parse().map(Value::Integer).map_err(|_| strange("a number")),
        b'$' => {
            let Some(length) = length(&text, BULK_BYTES)? else { return Ok(Value::Bulk(None)) };
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes)?;
            if bytes.split_off(length) != b"\r\n" {
                return Err(strange("the end of a string"));
            }
            Ok(Value::Bulk(Some(bytes)))
        }
        _ => Err(strange("a value")),
    }
}

/// The first character of a line, and the rest without its end.
fn read_line(from: &mut impl BufRead) -> io::Result<(u8, String)> {
    let mut line = Vec::new();
    from.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.strip_suffix(b"\r\n").ok_or_else(|| strange("the end of a line"))?;
    let (kind, rest) = line.split_first().ok_or_else(|| strange("a value"))?;
    Ok((*kind, String::from_utf8_lossy(rest).into_owned()))
}

/// A length; `None` is -1.
fn length(text: &str, most: usize) -> io::Result<Option<usize>> {
    if text == "-1" {
        return Ok(None);
    }
    let length = text.parse().ok().filter(|length| *length <= most);
    length.map(Some).ok_or_else(|| strange("a length"))
}

fn strange(wanted: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("RESP2: {wanted} was expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Value> {
        Value::read(&mut &bytes[..])
    }

    #[test]
    fn values_come_back_as_they_were() {
        for value in [
            Value::Simple("PONG".into()),
            Value::Error("ERR no".into()),
            Value::Integer(-3),
            Value::Bulk(None),
            Value::bulk("a\r\nb"),
            Value::Array(vec![Value::bulk(""), Value::Bulk(None), Value::Integer(1)]),
        ] {
            let mut bytes = Vec::new();
            value.encode(&mut bytes);
            assert_eq!(read(&bytes).unwrap(), value);
            for cut in 0..bytes.len() {
                assert!(read(&bytes[..cut]).is_err(), "{cut} bytes of {value:?}");
            }
        }
    }

    #[test]
    fn a_command_looks_as_the_protocol_wants_it() {
        let mut bytes = Vec::new();
        command(&mut bytes, &[b"GET", b"a b"]);
        assert_eq!(bytes, b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n");
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"*99999999\r\n",
            b"$99999999999\r\n",
            b"$-2\r\n",
            b":x\r\n",
            b"*1\r\n*1\r\n:1\r\n",
            b"$1\r\nabc\r\n",
            &[b'+'; 5000],
        ] {
            assert!(read(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
