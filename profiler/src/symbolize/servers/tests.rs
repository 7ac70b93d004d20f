use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::*;

const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwords";
const NONE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\ncut";
const LONG: Duration = Duration::from_secs(20);

/// A server for as many requests as there are answers; the paths that were asked for.
fn server(answers: &[&'static str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = answers.to_vec();
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

/// The address of nobody: bound and closed again.
fn nobody() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn fetcher(urls: &[&str], kept: Option<&DebugFileCache>, patience: Duration) -> Fetcher {
    let urls = urls.iter().map(|url| (*url).to_owned()).collect();
    Fetcher::new(&Servers { urls, kept: kept.cloned(), patience })
}

/// What was fetched, and from where; else why nothing was.
fn fetch(fetcher: &mut Fetcher, build_id: &str) -> Result<(String, String), Vec<String>> {
    fetch_if(fetcher, build_id, &|bytes| Ok(bytes == b"words"))
}

fn fetch_if(fetcher: &mut Fetcher, build_id: &str, fits: Fits<'_>) -> Result<(String, String), Vec<String>> {
    let found = fetcher.fetch(build_id, fits)?;
    Ok((String::from_utf8_lossy(&found.bytes).into_owned(), found.shown))
}

#[test]
fn a_build_is_asked_for_by_its_id_below_the_address() {
    let (url, served) = server(&[FILE, NONE, BROKEN, CUT]);
    let address = format!("{}/below/", url.replace("http://", "http://user:secret@"));
    let shown = format!("{url}/below");
    let mut fetcher = fetcher(&[&address], None, LONG);
    assert_eq!(fetch(&mut fetcher, "0123").unwrap(), ("words".to_owned(), format!("{shown} (debuginfod)")));
    let none = format!("{shown}: no debug file for this build (404)");
    assert_eq!(fetch(&mut fetcher, "4567").unwrap_err(), [none]);
    let broken = format!("{shown}: request failed with HTTP status 502 Bad Gateway");
    assert_eq!(fetch(&mut fetcher, "89ab").unwrap_err(), [broken]);
    let cut = fetch(&mut fetcher, "cdef").unwrap_err();
    assert!(cut.len() == 1 && cut[0].starts_with(&format!("{shown}: its file did not arrive: ")), "{cut:?}");
    // Nobody is asked about a malformed build id.
    for wrong in ["", "../../etc", "0123/", &"0".repeat(200)] {
        assert_eq!(
            fetch(&mut fetcher, wrong).unwrap_err(),
            ["no server is asked: its build id is malformed"]
        );
    }
    let expected = ["0123", "4567", "89ab", "cdef"].map(|id| format!("/below/buildid/{id}/debuginfo"));
    assert_eq!(served.join().unwrap(), expected);
}

#[test]
fn who_cannot_be_reached_is_asked_once_and_the_next_one_still() {
    let nobody = nobody();
    let (url, served) = server(&[NONE, FILE]);
    let mut fetcher = fetcher(&[&nobody, &url, "no address"], None, LONG);
    let first = fetch(&mut fetcher, "0123").unwrap_err();
    assert!(first[0].starts_with(&nobody) && first[0].to_lowercase().contains("refused"), "{first:?}");
    assert!(first[1].ends_with("(404)"), "{first:?}");
    assert!(first[2].starts_with("no address is not asked: its address is malformed"), "{first:?}");
    assert_eq!(fetch(&mut fetcher, "4567").unwrap().1, format!("{url} (debuginfod)"));
    // The other one has answered all that it answers.
    let second = fetch(&mut fetcher, "89ab").unwrap_err();
    assert!(second[0].starts_with(&format!("{nobody} is not asked: it failed before (")), "{second:?}");
    served.join().unwrap();
}

#[test]
fn who_never_answers_costs_no_more_than_the_patience() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut fetcher = fetcher(&[&url, &url], None, Duration::from_millis(400));
    let begun = Instant::now();
    let why = fetch(&mut fetcher, "0123").unwrap_err();
    assert!(why[0].contains("it did not answer in time"), "{why:?}");
    assert!(why[1].ends_with("is not asked: the servers have taken too long before"), "{why:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// A byte from time to time keeps no request alive: what is limited is the whole.
#[test]
fn who_answers_ever_so_slowly_costs_no_more_either() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let slow = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b".").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let begun = Instant::now();
    let why = fetch(&mut fetcher(&[&url], None, Duration::from_millis(400)), "0123").unwrap_err();
    assert!(why[0].contains("its file did not arrive: it did not answer in time"), "{why:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    slow.join().unwrap();
}

#[test]
fn what_is_larger_than_may_be_fetched_does_not_arrive() {
    let (url, served) = server(&[FILE]);
    let mut fetcher = fetcher(&[&url], None, LONG);
    locked(&fetcher.limits).bytes = 4;
    let why = fetch(&mut fetcher, "0123").unwrap_err();
    assert!(why[0].contains("its file did not arrive: it is larger than 4 B"), "{why:?}");
    served.join().unwrap();
}

#[test]
fn what_fits_is_kept_and_not_asked_for_again() {
    let place = tempfile::tempdir().unwrap();
    let kept = DebugFileCache::at(&place.path().join("cache")).unwrap();
    let (url, served) = server(&[FILE, FILE, FILE]);
    // Of another build, says whoever looks at it.
    let fetcher_of = || fetcher(&[&url], Some(&kept), LONG);
    let refused = fetch_if(&mut fetcher_of(), "0123", &|_| Err("it is of another build".to_owned()));
    assert_eq!(
        refused.unwrap_err(),
        [format!("the debug file of {url} (debuginfod) is not used: it is of another build")]
    );
    assert!(kept.find("0123").is_none());
    assert!(fetch(&mut fetcher_of(), "0123").unwrap().1.starts_with(&url));
    let path = kept.path("0123");
    let again = fetch(&mut fetcher_of(), "0123").unwrap();
    assert_eq!(again, ("words".to_owned(), format!("{} (debuginfod)", path.display())));
    // What was damaged since is fetched anew.
    fs::write(&path, "damage").unwrap();
    assert!(fetch(&mut fetcher_of(), "0123").unwrap().1.starts_with(&url));
    assert_eq!(fs::read_to_string(&path).unwrap(), "words");
    assert_eq!(served.join().unwrap().len(), 3);
}

/// With a certificate that nobody vouches for, and with one that is trusted.
#[test]
fn a_server_has_to_prove_who_it_is() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    make.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    make.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key", "-out", "certificate"]);
    let made = make.current_dir(place.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::create_dir_all(path("buildid/0123")).unwrap();
    fs::write(path("buildid/0123/debuginfo"), "words").unwrap();
    let mut serve = Command::new("openssl");
    serve.args(["s_server", "-accept", "localhost:0", "-cert", "certificate", "-key", "key", "-WWW"]);
    serve.current_dir(place.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut serving = serve.spawn().unwrap();
    let lines = BufReader::new(serving.stdout.take().unwrap()).lines();
    // `ACCEPT 127.0.0.1:40511`
    let ready = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("ACCEPT ")?.to_owned()));
    let port = ready.as_ref().and_then(|address| address.rsplit(':').next()).unwrap_or_default();
    let url = format!("https://localhost:{port}");
    let refused = fetch(&mut fetcher(&[&url], None, LONG), "0123");
    let certificate = Certificate::from_pem(&fs::read(path("certificate")).unwrap()).unwrap();
    let trusted = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate])).build();
    let agent = Agent::config_builder().tls_config(trusted).build().new_agent();
    let servers = Servers { urls: vec![url.clone()], kept: None, patience: LONG };
    let accepted = fetch(&mut Fetcher::with(&servers, &agent), "0123");
    serving.kill().unwrap();
    serving.wait().unwrap();
    let why = refused.unwrap_err().remove(0);
    assert!(why.contains("certificate"), "{why}");
    assert_eq!(accepted.unwrap(), ("words".to_owned(), format!("{url} (debuginfod)")));
}
