//! Debug files from servers, by build id, as `debuginfod` of elfutils hands them out. Only if the user asks: a server learns
//! which programs run here.

use std::{
    fs::File,
    io::{self, Seek as _},
    time::{Duration, Instant},
};

use debuginfod::{BuildId, Client, HttpClient, HttpClientError, Readable};
use ureq::{Agent, http::StatusCode};

use super::bytes::scratch_file;

/// Largest file that is fetched, in bytes.
const MAX_FILE: u64 = 1 << 30;
/// How long a server may take to be found and to accept a connection: without a network nobody waits longer.
const REACH: Duration = Duration::from_secs(3);

/// Servers to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Where they are, the first one first: `https://...` or `http://...`.
    pub urls: Vec<String>,
    /// How long all of them may be waited for, taken together; a download that is under way when it is over may take as
    /// long once more.
    pub patience: Duration,
}

impl Servers {
    /// How long servers are waited for, if nothing else is asked for.
    pub const PATIENCE: Duration = Duration::from_secs(60);
}

/// Asks servers until they are given up.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Result<Client, String>,
    left: Duration,
}

impl Fetcher {
    /// Nothing is asked yet.
    pub(super) fn new(servers: &Servers) -> Fetcher {
        let config = Agent::config_builder()
            .timeout_resolve(Some(REACH.min(servers.patience)))
            .timeout_connect(Some(REACH.min(servers.patience)))
            .timeout_recv_response(Some(servers.patience / 2))
            .timeout_global(Some(servers.patience))
            .user_agent(concat!("profiler/", env!("CARGO_PKG_VERSION")))
            .build();
        let built = Client::builder()
            .http_client(Http(config.new_agent()))
            .build(servers.urls.iter().map(String::as_str));
        let client = match built {
            Ok(Some(client)) => Ok(client),
            Ok(None) => Err("no server is known".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        };
        Fetcher { client, left: servers.patience }
    }

    /// The debug file of a build, in a file without a name, and the server that had it. `None` if no server has it.
    ///
    /// # Errors
    /// In words, why no server could be asked, or why the file did not arrive. From then on no server is asked any more.
    pub(super) fn fetch(&mut self, build_id: &str) -> Result<Option<(File, String)>, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        let begun = Instant::now();
        let fetched = fetch(client, build_id);
        let took = begun.elapsed();
        self.left = self.left.saturating_sub(took);
        if let Err(why) = &fetched {
            self.client = Err(format!("{why}; not asked again"));
        } else if self.left.is_zero() {
            self.client = Err("the servers took too long before; not asked again".to_owned());
        }
        fetched
    }
}

fn fetch(client: &Client, build_id: &str) -> Result<Option<(File, String)>, String> {
    let answer = client.fetch_debug_info(&BuildId::formatted(build_id)).map_err(|error| {
        // The innermost reason; the others repeat the address.
        error.chain().last().map_or_else(|| error.to_string(), ToString::to_string)
    })?;
    let Some(mut answer) = answer else { return Ok(None) };
    let server = answer.server_url.to_owned();
    let mut file = scratch_file().map_err(|error| format!("there is no room for the file: {error}"))?;
    io::copy(&mut answer.data, &mut file)
        .and_then(|_| file.rewind())
        .map_err(|error| format!("the file of {server} did not arrive: {error}"))?;
    Ok(Some((file, server)))
}

/// Requests of the client, with limits.
#[derive(Debug)]
struct Http(Agent);

impl HttpClient for Http {
    fn get(&self, url: &str) -> Result<Box<dyn Readable>, HttpClientError> {
        match self.0.get(url).call() {
            Ok(response) => {
                let body = response.into_body().into_with_config().limit(MAX_FILE).reader();
                Ok(Box::new(Body(Box::new(body))))
            }
            Err(ureq::Error::StatusCode(code)) => {
                Err(HttpClientError::StatusCode(StatusCode::from_u16(code).unwrap_or_default()))
            }
            Err(error) => Err(HttpClientError::Other(Box::new(error))),
        }
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
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// A server for as many requests as there are answers; the paths that were asked for.
    fn server(answers: Vec<&'static str>) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = thread::spawn(move || {
            let serve = |answer: &str| {
                let mut stream = listener.accept().unwrap().0;
                let mut line = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                reader.read_line(&mut line).unwrap();
                let mut header = String::from("more");
                while !header.trim().is_empty() {
                    header.clear();
                    reader.read_line(&mut header).unwrap();
                }
                stream.write_all(answer.as_bytes()).unwrap();
                line.split(' ').nth(1).unwrap_or_default().to_owned()
            };
            answers.into_iter().map(serve).collect()
        });
        (url, served)
    }

    fn fetcher(url: &str, patience: Duration) -> Fetcher {
        Fetcher::new(&Servers { urls: vec![url.to_owned()], patience })
    }

    #[test]
    fn a_build_is_asked_for_by_its_id() {
        let (url, served) = server(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwords",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\ncut",
        ]);
        let mut fetcher = fetcher(&url, Duration::from_secs(20));
        let (mut file, from) = fetcher.fetch("0123").unwrap().unwrap();
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        assert_eq!((content.as_str(), from.trim_end_matches('/')), ("words", url.as_str()));
        assert!(fetcher.fetch("4567").unwrap().is_none());
        let cut = fetcher.fetch("89ab").unwrap_err();
        assert!(cut.contains("did not arrive"), "{cut}");
        let expected = ["0123", "4567", "89ab"].map(|id| format!("/buildid/{id}/debuginfo"));
        assert_eq!(served.join().unwrap(), expected);
    }

    #[test]
    fn who_cannot_be_reached_is_asked_once() {
        // Bound and closed again: nobody listens there.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut fetcher = fetcher(&format!("http://{address}"), Duration::from_secs(20));
        let first = fetcher.fetch("0123").unwrap_err();
        assert!(!first.contains("not asked again") && first.to_lowercase().contains("refused"), "{first}");
        let begun = Instant::now();
        let second = fetcher.fetch("0123").unwrap_err();
        assert!(second.ends_with("; not asked again"), "{second}");
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(self::fetcher("no address", Duration::from_secs(1)).fetch("0123").is_err());
    }

    #[test]
    fn who_never_answers_costs_no_more_than_the_patience() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let begun = Instant::now();
        let why = fetcher(&url, Duration::from_millis(400)).fetch("0123").unwrap_err();
        assert!(why.contains("timeout"), "{why}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}
