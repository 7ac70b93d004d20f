//! Debug files from servers, by build id, by the protocol of elfutils' `debuginfod`. Only if the user asks for it: a
//! server learns which programs run here.

use std::{
    fs::File,
    io::{self, Seek as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use debuginfod::{BuildId, Client, HttpClient, HttpClientError, Readable};
use ureq::{Agent, http::StatusCode};

use super::{
    bytes::{Bytes, scratch_file},
    cache::DebugFileCache,
};

/// Largest file that is fetched, in bytes.
const MAX_FILE: u64 = 1 << 30;
/// Most that is fetched in one run, in bytes.
const MAX_FETCHED: u64 = 4 << 30;
/// Longest time for finding a server and connecting to it, so that a missing network costs no more.
const REACH: Duration = Duration::from_secs(3);
/// Longest time until a server begins its answer. A server without the file asks others first.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest build id that is asked for, in hex digits. The usual length is 40.
const MAX_DIGITS: usize = 128;

/// Servers to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Their addresses, in order: `https://...` or `http://...`.
    pub urls: Vec<String>,
    /// Where fetched files are kept for the next run. `None`: nowhere.
    pub kept: Option<DebugFileCache>,
    /// Longest time for all requests together.
    pub patience: Duration,
}

impl Servers {
    /// The default of `patience`.
    pub const PATIENCE: Duration = Duration::from_secs(60);
}

/// A debug file that matches.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) file: File,
    pub(super) bytes: Arc<Bytes>,
    /// Where it comes from, for people.
    pub(super) shown: String,
}

/// `Ok` if a file matches: whether it has names. An error says why it does not match.
pub(super) type Fits<'a> = &'a dyn Fn(&[u8]) -> Result<bool, String>;

/// Asks servers, each until it has failed once.
#[derive(Debug)]
pub(super) struct Fetcher {
    servers: Vec<Server>,
    kept: Option<DebugFileCache>,
    limits: Arc<Mutex<Limits>>,
}

/// What is left for all requests together.
#[derive(Clone, Copy, Debug)]
struct Limits {
    time: Duration,
    bytes: u64,
}

#[derive(Debug)]
struct Server {
    /// Its address without a password, for people.
    name: String,
    /// The client; or why the server is not asked any more.
    client: Result<Client, String>,
}

/// Why a server did not give a file.
enum Failure {
    /// This file only: the server is asked for the next one.
    Now(String),
    /// Every further request would take as long: the server is not asked again.
    ForGood(String),
}

impl Fetcher {
    /// Sends no request yet.
    pub(super) fn new(servers: &Servers) -> Fetcher {
        let config = Agent::config_builder()
            .timeout_resolve(Some(REACH))
            .timeout_connect(Some(REACH))
            .timeout_recv_response(Some(ANSWER))
            .user_agent(concat!("profiler/", env!("CARGO_PKG_VERSION")));
        Fetcher::with(servers, &config.build().new_agent())
    }

    fn with(servers: &Servers, agent: &Agent) -> Fetcher {
        let limits = Arc::new(Mutex::new(Limits { time: servers.patience, bytes: MAX_FETCHED }));
        let server = |url: &String| {
            let http = Http { agent: agent.clone(), base: url.clone(), limits: Arc::clone(&limits) };
            let client = match Client::builder().http_client(http).build([url.as_str()]) {
                Ok(Some(client)) => Ok(client),
                Ok(None) => Err("the address is empty".to_owned()),
                Err(error) => Err(format!("its address is malformed ({})", error.root_cause())),
            };
            Server { name: without_password(url), client }
        };
        Fetcher { servers: servers.urls.iter().map(server).collect(), kept: servers.kept.clone(), limits }
    }

    /// The debug file of a build: from the cache, else from the first server with one that matches.
    ///
    /// # Errors
    /// If there is none: a message for each server.
    pub(super) fn fetch(&mut self, build_id: &str, fits: Fits<'_>) -> Result<Fetched, Vec<String>> {
        // The build id becomes part of paths, and may come from a report file.
        if build_id.is_empty()
            || build_id.len() > MAX_DIGITS
            || !build_id.bytes().all(|b| b.is_ascii_hexdigit())
        {
            return Err(vec!["no server is asked: its build id is malformed".to_owned()]);
        }
        let mut reasons = Vec::new();
        if let Some(kept) = &self.kept
            && let Some(file) = kept.find(build_id)
        {
            match fitting(file, kept.path(build_id).display().to_string(), fits) {
                Ok(found) => return Ok(found),
                Err(why) => reasons.push(why),
            }
        }
        for server in &mut self.servers {
            let fetched = server.fetch(build_id, self.kept.as_ref(), &self.limits);
            match fetched.and_then(|file| fitting(file, server.name.clone(), fits)) {
                Ok(found) => return Ok(self.keep(build_id, found)),
                Err(why) => reasons.push(why),
            }
        }
        Err(reasons)
    }

    fn keep(&self, build_id: &str, mut found: Fetched) -> Fetched {
        if let Some(Err(error)) = self.kept.as_ref().map(|kept| kept.keep(build_id, &found.file)) {
            found.shown = format!("{}, not kept: {error}", found.shown);
        }
        found
    }
}

fn fitting(file: File, place: String, fits: Fits<'_>) -> Result<Fetched, String> {
    let shown = format!("{place} (debuginfod)");
    let refused = |why: String| format!("the debug file of {shown} is not used: {why}");
    let bytes = Bytes::map(&file).map_err(|error| refused(error.to_string()))?;
    match fits(&bytes) {
        Ok(true) => Ok(Fetched { file, bytes, shown }),
        Ok(false) => Err(refused("it has no names".to_owned())),
        Err(why) => Err(refused(why)),
    }
}

impl Server {
    /// The whole file that the server has for a build.
    ///
    /// # Errors
    /// A message, if there is none.
    fn fetch(
        &mut self,
        build_id: &str,
        kept: Option<&DebugFileCache>,
        limits: &Mutex<Limits>,
    ) -> Result<File, String> {
        let client = match &self.client {
            Ok(client) => client,
            Err(why) => return Err(format!("{} is not asked: {why}", self.name)),
        };
        if locked(limits).time.is_zero() {
            return Err(format!("{} is not asked: the servers have taken too long before", self.name));
        }
        let begun = Instant::now();
        let file = receive(client, build_id, kept, limits);
        let mut limits = locked(limits);
        limits.time = limits.time.saturating_sub(begun.elapsed());
        file.map_err(|failure| match failure {
            Failure::Now(why) => format!("{}: {why}", self.name),
            Failure::ForGood(why) => {
                let words = format!("{}: {why}", self.name);
                self.client = Err(format!("it failed before ({why})"));
                words
            }
        })
    }
}

fn receive(
    client: &Client,
    build_id: &str,
    kept: Option<&DebugFileCache>,
    limits: &Mutex<Limits>,
) -> Result<File, Failure> {
    let answer = client.fetch_debug_info(&BuildId::formatted(build_id)).map_err(|error| {
        match error.downcast_ref::<HttpClientError>() {
            Some(_) => Failure::ForGood(error.root_cause().to_string()),
            // The server answered without a file. The message repeats the reason: `... HTTP status 502 Bad Gateway (Bad
            // Gateway)`.
            None => Failure::Now(error.root_cause().to_string().split(" (").take(1).collect()),
        }
    })?;
    let mut answer = answer.ok_or_else(|| Failure::Now("no debug file for this build (404)".to_owned()))?;
    let file = kept.and_then(|kept| kept.scratch_file().ok()).map_or_else(scratch_file, Ok);
    let mut file =
        file.map_err(|error| Failure::ForGood(format!("there is no room for its file: {error}")))?;
    let received = io::copy(&mut answer.data, &mut file).and_then(|bytes| file.rewind().map(|()| bytes));
    let bytes = received
        .map_err(|error| Failure::ForGood(format!("its file did not arrive: {}", in_words(error.into()))))?;
    let mut limits = locked(limits);
    limits.bytes = limits.bytes.saturating_sub(bytes);
    Ok(file)
}

fn locked(limits: &Mutex<Limits>) -> std::sync::MutexGuard<'_, Limits> {
    limits.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An address to show to people.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}").trim_end_matches('/').to_owned()
}

/// Requests to one server, within the limits.
#[derive(Debug)]
struct Http {
    agent: Agent,
    base: String,
    limits: Arc<Mutex<Limits>>,
}

impl HttpClient for Http {
    fn get(&self, url: &str) -> Result<Box<dyn Readable>, HttpClientError> {
        // The client asks at the root of the host, whatever path the server's address has.
        let below = url.rfind("/buildid/").and_then(|at| url.get(at..)).unwrap_or_default();
        let url = format!("{}{below}", self.base.trim_end_matches('/'));
        let Limits { time, bytes } = *locked(&self.limits);
        match self.agent.get(url).config().timeout_global(Some(time)).build().call() {
            Ok(response) => {
                let body = response.into_body().into_with_config().limit(bytes.min(MAX_FILE)).reader();
                Ok(Box::new(Body(Box::new(body))))
            }
            Err(ureq::Error::StatusCode(code)) => {
                Err(HttpClientError::StatusCode(StatusCode::from_u16(code).unwrap_or_default()))
            }
            Err(error) => Err(HttpClientError::Other(in_words(error).into())),
        }
    }
}

fn in_words(error: ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(what) => format!("it did not answer in time (timeout: {what})"),
        ureq::Error::HostNotFound => "no such host is known".to_owned(),
        ureq::Error::BodyExceedsLimit(bytes) => {
            format!("it is larger than {}", crate::units::bytes(bytes as f64))
        }
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

struct Body(Box<dyn io::Read>);

impl io::Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

#[cfg(test)]
mod tests;
