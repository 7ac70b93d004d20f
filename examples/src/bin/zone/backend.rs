//! The stand-in for Redis: a process of its own that keeps a few keys in memory and speaks RESP2.
//!
//! Like Redis it does one thing after the other: who asks while another one is answered has to wait.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::options::BackendOptions;
use crate::print_line;
use crate::resp::Value;
use crate::stop::Stop;
use crate::threads;

/// Connections at once; more are closed.
const MOST_CONNECTIONS: usize = 16;
/// Keys that are kept; after that, writing is refused.
const MOST_KEYS: usize = 1 << 21;

/// `zone backend`: serves until it is told to end.
pub(crate) fn run(options: &BackendOptions) -> anyhow::Result<()> {
    threads::name_process(c"zone-backend");
    let mut stop = Stop::listen(options.owned)?;
    stop.after(options.run_for);
    let listener =
        TcpListener::bind(options.listen).with_context(|| format!("listening on {}", options.listen))?;
    let address = listener.local_addr().context("asking for the port")?;
    let store = Store {
        stall: options.stall.map(|ms| (Duration::from_millis(ms), options.stall_every)),
        ..Store::default()
    };
    threads::spawn("backend", move || accept(&listener, &Arc::new(Mutex::new(store))))?;
    print_line(&format!("backend on {address}"))?;
    stop.wait_until(u64::MAX);
    Ok(())
}

fn accept(listener: &TcpListener, store: &Arc<Mutex<Store>>) {
    let connections = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if connections.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
            connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (store, open) = (Arc::clone(store), Arc::clone(&connections));
        let serving = threads::spawn("backend-client", move || {
            // Whoever says nonsense or leaves is not worth a word.
            let _ = serve(stream, &store);
            open.fetch_sub(1, Ordering::Relaxed);
        });
        if serving.is_err() {
            connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(mut stream: TcpStream, store: &Mutex<Store>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut answers = Vec::new();
    loop {
        let request = Value::read(&mut requests)?;
        store.lock().unwrap_or_else(PoisonError::into_inner).answer(request).encode(&mut answers);
        // Requests that came together are answered together.
        if requests.buffer().is_empty() {
            stream.write_all(&answers)?;
            answers.clear();
        }
    }
}

/// What is kept.
#[derive(Debug, Default)]
struct Store {
    strings: HashMap<Vec<u8>, Vec<u8>>,
    hashes: HashMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Planted fault: how long an answer is held back, and that of every how many requests.
    stall: Option<(Duration, u64)>,
    requests: u64,
}

impl Store {
    fn answer(&mut self, request: Value) -> Value {
        self.requests += 1;
        if let Some((length, every)) = self.stall
            && self.requests.is_multiple_of(every)
        {
            answer_late(length);
        }
        let Some(mut words) = words(request) else { return error("ERR a command was expected") };
        if words.is_empty() {
            return error("ERR a command was expected");
        }
        let name = words.remove(0).to_ascii_uppercase();
        self.execute(&name, words).unwrap_or_else(|| error("ERR unknown command, or wrong arguments"))
    }

    /// `None` if the command is unknown or has the wrong number of arguments.
    fn execute(&mut self, name: &[u8], arguments: Vec<Vec<u8>>) -> Option<Value> {
        match (name, arguments.as_slice()) {
            (b"PING", []) => Some(Value::Simple("PONG".to_owned())),
            (b"GET", [key]) => Some(Value::Bulk(self.strings.get(key).cloned())),
            (b"MGET", [_, ..]) => {
                let get = |key| Value::Bulk(self.strings.get(key).cloned());
                Some(Value::Array(arguments.iter().map(get).collect()))
            }
            (b"SET", [key, value]) => Some(self.set(key, value)),
            (b"INCR", [key]) => Some(self.increment(key)),
            (b"HGETALL", [key]) => {
                let fields = self.hashes.get(key).into_iter().flatten();
                let both = fields.flat_map(|(field, value)| [field, value]);
                Some(Value::Array(both.map(|bytes| Value::bulk(bytes.as_slice())).collect()))
            }
            (b"HSET", [key, fields @ ..]) if !fields.is_empty() && fields.len().is_multiple_of(2) => {
                Some(self.set_fields(key, fields))
            }
            _ => None,
        }
    }

    fn has_room_for(&self, key: &[u8]) -> bool {
        let is_known = self.strings.contains_key(key) || self.hashes.contains_key(key);
        is_known || self.strings.len() + self.hashes.len() < MOST_KEYS
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Value {
        if !self.has_room_for(key) {
            return error("OOM too many keys");
        }
        self.strings.insert(key.to_owned(), value.to_owned());
        Value::Simple("OK".to_owned())
    }

    fn increment(&mut self, key: &[u8]) -> Value {
        let before = self.strings.get(key).map_or(Some(0), |value| str::from_utf8(value).ok()?.parse().ok());
        let Some(after) = before.and_then(|before: i64| before.checked_add(1)) else {
            return error("ERR value is not an integer or out of range");
        };
        match self.set(key, after.to_string().as_bytes()) {
            Value::Error(text) => Value::Error(text),
            _ => Value::Integer(after),
        }
    }

    fn set_fields(&mut self, key: &[u8], fields: &[Vec<u8>]) -> Value {
        if !self.has_room_for(key) {
            return error("OOM too many keys");
        }
        let hash = self.hashes.entry(key.to_owned()).or_default();
        let before = hash.len();
        for pair in fields.chunks_exact(2) {
            if let [field, value] = pair {
                hash.insert(field.clone(), value.clone());
            }
        }
        Value::Integer((hash.len() - before) as i64)
    }
}

/// Planted fault (`--stall-io`): the device below the backend is slow now and then, and everybody waits.
#[inline(never)]
fn answer_late(length: Duration) {
    std::thread::sleep(length);
    // Something to do after the call, so that the compiler cannot leave this function out of its stacks.
    std::hint::black_box(length);
}

fn error(text: &str) -> Value {
    Value::Error(text.to_owned())
}

/// The words of a command; `None` if it is not an array of strings.
fn words(request: Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(values) = request else { return None };
    let word = |value| if let Value::Bulk(word) = value { word } else { None };
    values.into_iter().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(store: &mut Store, command: &str) -> Value {
        let words = command.split_whitespace().map(Value::bulk);
        store.answer(Value::Array(words.collect()))
    }

    fn strings(values: &[Option<&str>]) -> Value {
        Value::Array(values.iter().map(|value| Value::Bulk(value.map(Into::into))).collect())
    }

    #[test]
    fn commands_answer_as_those_of_redis() {
        let store = &mut Store::default();
        assert_eq!(ask(store, "ping"), Value::Simple("PONG".into()));
        assert_eq!(ask(store, "SET a 1"), Value::Simple("OK".into()));
        assert_eq!(ask(store, "INCR a"), Value::Integer(2));
        assert_eq!(ask(store, "INCR new"), Value::Integer(1));
        assert_eq!(ask(store, "GET a"), Value::bulk("2"));
        assert_eq!(ask(store, "MGET a none new"), strings(&[Some("2"), None, Some("1")]));
        assert_eq!(ask(store, "HSET h x 1 y 2"), Value::Integer(2));
        assert_eq!(ask(store, "HSET h x 3"), Value::Integer(0));
        assert_eq!(ask(store, "HGETALL h"), strings(&[Some("x"), Some("3"), Some("y"), Some("2")]));
        assert_eq!(ask(store, "HGETALL none"), strings(&[]));
    }

    #[test]
    fn wrong_commands_are_errors() {
        let store = &mut Store::default();
        ask(store, "SET word abc");
        for command in ["", "GET", "GET a b", "SET a", "HSET h x", "HSET h", "MGET", "INCR word", "EVAL x"] {
            assert!(matches!(ask(store, command), Value::Error(_)), "{command:?}");
        }
        assert!(matches!(store.answer(Value::Integer(1)), Value::Error(_)));
    }
}
