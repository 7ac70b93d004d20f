//! HTTP/1.1 as far as long polling needs it: messages that say how long they are, on connections that stay open.
//! `httparse` reads the heads.

use std::fmt;

use httparse::{EMPTY_HEADER, Header, Status};

/// Longest head, in bytes, and most fields in it: what servers usually take.
const HEAD_BYTES: usize = 8 * 1024;
const FIELDS: usize = 64;
/// Longest body, in bytes. The longest is an answer with a full outbox and a full batch of the longest chat lines,
/// every character escaped: about 100 KiB.
const BODY_BYTES: usize = 256 * 1024;

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    target: String,
    pub(crate) body: Vec<u8>,
    /// Whether the client will ask for more on this connection.
    pub(crate) keep_alive: bool,
}

impl Request {
    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// A number in the query; none if it is not there, or is no number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let (_, query) = self.target.split_once('?')?;
        let value = |pair: &'_ str| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        digits(query.split('&').find_map(value)?.as_bytes())
    }
}

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Bytes that are no message of ours, and why. Where the next message begins is unknown, too.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<httparse::Error> for Malformed {
    fn from(error: httparse::Error) -> Self {
        Self(error.to_string())
    }
}

/// Takes the first request off what was received, once all of it is there.
pub(crate) fn take_request(received: &mut Vec<u8>) -> Result<Option<Request>, Malformed> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let Status::Complete(head_bytes) = head.parse(received)? else { return incomplete_head(received) };
    let Some(body) = body_of(received, head_bytes, head.headers)? else { return Ok(None) };
    let modern = head.version == Some(1);
    if modern && values(head.headers, "host").count() != 1 {
        return Err(Malformed("not one host".to_owned()));
    }
    let closes = values(head.headers, "connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        target: head.path.unwrap_or_default().to_owned(),
        body: body.to_vec(),
        keep_alive: modern && !closes,
    };
    let length = head_bytes + body.len();
    received.drain(..length);
    Ok(Some(request))
}

/// Takes the first answer off what was received, once all of it is there.
pub(crate) fn take_answer(received: &mut Vec<u8>) -> Result<Option<Answer>, Malformed> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let Status::Complete(head_bytes) = head.parse(received)? else { return incomplete_head(received) };
    let Some(body) = body_of(received, head_bytes, head.headers)? else { return Ok(None) };
    let answer = Answer { status: head.code.unwrap_or_default(), body: body.to_vec() };
    let length = head_bytes + body.len();
    received.drain(..length);
    Ok(Some(answer))
}

fn incomplete_head<M>(received: &[u8]) -> Result<Option<M>, Malformed> {
    if received.len() > HEAD_BYTES { Err(Malformed("the head is too long".to_owned())) } else { Ok(None) }
}

/// The bytes after the head that belong to it; none as long as some are missing.
fn body_of<'a>(
    received: &'a [u8],
    head_bytes: usize,
    fields: &[Header],
) -> Result<Option<&'a [u8]>, Malformed> {
    if values(fields, "transfer-encoding").next().is_some() {
        return Err(Malformed("only bodies with a content-length are read".to_owned()));
    }
    let mut lengths = values(fields, "content-length");
    let length = lengths.next().map_or(Some(0), digits);
    // Several lengths are how requests are smuggled past a proxy.
    let length = length.filter(|_| lengths.next().is_none()).and_then(|length| usize::try_from(length).ok());
    match length {
        None => Err(Malformed("the content-length is not one number".to_owned())),
        Some(length) if length > BODY_BYTES => Err(Malformed("the body is too long".to_owned())),
        Some(length) => Ok(received.get(head_bytes..head_bytes + length)),
    }
}

fn values<'a>(fields: &'a [Header], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// A number of digits and nothing else: `parse` alone would take a sign.
fn digits(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// A request as bytes. `fields` are complete lines; what describes the body is added.
pub(crate) fn request(method: &str, target: &str, fields: &str, body: Option<&str>) -> String {
    match body {
        None => format!("{method} {target} HTTP/1.1\r\n{fields}\r\n"),
        Some(body) => {
            let length = body.len();
            format!(
                "{method} {target} HTTP/1.1\r\n{fields}\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        }
    }
}

/// An answer as bytes; with `keep_alive` off, the last of its connection.
pub(crate) fn answer(status: u16, body: &str, keep_alive: bool) -> String {
    let reason = match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        404 => "Not Found",
        _ => "",
    };
    let close = if keep_alive { "" } else { "Connection: close\r\n" };
    // By RFC 9110, section 8.6, an answer without content has no length either.
    if status == 204 {
        return format!("HTTP/1.1 {status} {reason}\r\n{close}\r\n");
    }
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\n{close}\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Option<Request>, Malformed> {
        take_request(&mut text.as_bytes().to_vec())
    }

    #[test]
    fn a_request_is_taken_once_all_of_it_is_there() {
        let bytes = request("POST", "/input?session=7&x", "Host: a\r\n", Some("{}")).into_bytes();
        for part in 0..bytes.len() {
            let mut received = bytes[..part].to_vec();
            assert_eq!(take_request(&mut received), Ok(None));
            assert_eq!(received.len(), part, "nothing was taken");
        }
        let mut received = [bytes.as_slice(), b"GET"].concat();
        let taken = take_request(&mut received).unwrap().unwrap();
        assert_eq!((taken.method.as_str(), taken.path(), taken.keep_alive), ("POST", "/input", true));
        assert_eq!(taken.body, b"{}");
        assert_eq!(received, b"GET", "the next request has begun");
    }

    #[test]
    fn numbers_in_the_query_are_digits() {
        let asked = |query: &str| {
            let text = request("GET", &format!("/poll?{query}"), "Host: a\r\n", None);
            take(&text).unwrap().unwrap().number("since")
        };
        assert_eq!(asked("session=1&since=18446744073709551615"), Some(u64::MAX));
        for query in ["", "since", "since=", "since=+1", "since=-1", "since=1.0", "insince=1", "sincere=1"] {
            assert_eq!(asked(query), None, "{query}");
        }
        assert_eq!(asked("since=18446744073709551616"), None, "more than 64 bits");
    }

    #[test]
    fn a_connection_is_kept_unless_the_client_says_otherwise() {
        let kept = |text: &str| take(text).unwrap().unwrap().keep_alive;
        assert!(kept("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.1\r\nHost: a\r\nConnection: te, Close\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.0\r\n\r\n"));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "\u{16}\u{3}\u{1}\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n1",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 262145\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n",
        ] {
            assert!(take(text).is_err(), "{text:?} was taken");
        }
        let endless = "a".repeat(HEAD_BYTES);
        assert!(
            take(&format!("GET / HTTP/1.1\r\nHost: {endless}")).is_err(),
            "waits for the end of the head"
        );
        let many = "a: b\r\n".repeat(FIELDS + 1);
        assert!(take(&format!("GET / HTTP/1.1\r\n{many}\r\n")).is_err(), "too many fields");
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        for (status, body) in [(200, "[]"), (204, ""), (400, r#"{"error":"no"}"#), (404, "")] {
            for keep_alive in [true, false] {
                let mut received = answer(status, body, keep_alive).repeat(2).into_bytes();
                let read = Answer { status, body: body.as_bytes().to_vec() };
                assert_eq!(take_answer(&mut received).unwrap().as_ref(), Some(&read));
                assert_eq!(take_answer(&mut received).unwrap(), Some(read));
                assert_eq!(take_answer(&mut received), Ok(None));
            }
        }
    }
}
