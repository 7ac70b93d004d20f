//! Players as they are outside of the server: over WebSocket, and over HTTP without a crate for it, because the server
//! and its bots share one.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

pub(crate) const TRANSPORTS: [&str; 2] = ["websocket", "longpoll"];

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// A player who has said hello.
pub(crate) enum Player {
    WebSocket(Box<WebSocket<TcpStream>>),
    LongPoll(LongPoll),
}

impl Player {
    pub(crate) fn join(transport: &str, address: SocketAddr, name: &str) -> Self {
        if transport == "longpoll" {
            return Self::LongPoll(LongPoll::join(address, name));
        }
        let mut socket = web_socket(address);
        socket.send(Message::text(hello(name))).unwrap();
        Self::WebSocket(Box::new(socket))
    }

    pub(crate) fn say(&mut self, message: Value) {
        match self {
            Self::WebSocket(socket) => socket.send(Message::text(message.to_string())).unwrap(),
            Self::LongPoll(player) => player.say(&[message]),
        }
    }

    /// The next message of this type.
    pub(crate) fn hear(&mut self, kind: &str) -> Value {
        let mut next = || match self {
            Self::WebSocket(socket) => {
                serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
            }
            Self::LongPoll(player) => player.next(),
        };
        loop {
            let message: Value = next();
            if message["type"] == kind {
                return message;
            }
        }
    }

    pub(crate) fn leave(self) {
        match self {
            Self::WebSocket(mut socket) => {
                socket.close(None).unwrap();
                socket.flush().unwrap();
            }
            Self::LongPoll(mut player) => {
                let target = format!("/leave?session={}", player.session);
                assert_eq!(player.posts.ask("POST", &target, "").0, 204);
            }
        }
    }
}

/// A socket that has not said hello.
pub(crate) fn web_socket(address: SocketAddr) -> WebSocket<TcpStream> {
    tungstenite::client(format!("ws://{address}/"), connect(address)).unwrap().0
}

pub(crate) fn hello(name: &str) -> String {
    json!({ "type": "hello", "name": name }).to_string()
}

/// A player with a connection for polls and one for posts.
pub(crate) struct LongPoll {
    pub(crate) polls: Http,
    pub(crate) posts: Http,
    pub(crate) session: u64,
    /// The number to poll for next.
    pub(crate) since: u64,
    heard: VecDeque<Value>,
}

impl LongPoll {
    pub(crate) fn join(address: SocketAddr, name: &str) -> Self {
        let [polls, mut posts] = [(); 2].map(|()| Http::open(address));
        let (status, welcome) = posts.ask("POST", "/join", &hello(name));
        assert_eq!(status, 200, "{welcome}");
        let session = welcome["session"].as_u64().unwrap();
        Self { polls, posts, session, since: 0, heard: [welcome].into() }
    }

    pub(crate) fn say(&mut self, messages: &[Value]) {
        let (status, answer) = self.input(&json!(messages).to_string());
        assert_eq!(status, 204, "{answer}");
    }

    pub(crate) fn input(&mut self, body: &str) -> (u16, Value) {
        self.posts.ask("POST", &format!("/input?session={}", self.session), body)
    }

    /// What the poll for `since` is answered.
    pub(crate) fn poll(&mut self, since: u64) -> (u16, Value) {
        self.polls.ask("GET", &self.target(since), "")
    }

    pub(crate) fn target(&self, since: u64) -> String {
        format!("/poll?session={}&since={since}", self.session)
    }

    /// The next message of this type.
    pub(crate) fn hear(&mut self, kind: &str) -> Value {
        std::iter::repeat_with(|| self.next()).find(|message| message["type"] == kind).unwrap()
    }

    /// The next message, of whatever type.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            if let Some(message) = self.heard.pop_front() {
                return message;
            }
            self.listen();
        }
    }

    /// Polls once.
    pub(crate) fn listen(&mut self) {
        let (status, mut batch) = self.poll(self.since);
        assert_eq!(status, 200, "{batch}");
        let Value::Array(messages) = batch["messages"].take() else { panic!("no messages in {batch}") };
        let next = batch["next"].as_u64().unwrap();
        assert_eq!(next, self.since + messages.len() as u64, "numbered without a gap");
        self.since = next;
        self.heard.extend(messages);
    }
}

/// A connection that stays open.
pub(crate) struct Http(BufReader<TcpStream>);

impl Http {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self(BufReader::new(connect(address)))
    }

    pub(crate) fn ask(&mut self, method: &str, target: &str, body: &str) -> (u16, Value) {
        self.send(method, target, body);
        self.answer()
    }

    pub(crate) fn send(&mut self, method: &str, target: &str, body: &str) {
        let length = body.len();
        self.write(&format!(
            "{method} {target} HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
    }

    pub(crate) fn write(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    /// The status and the body, null if there is none.
    pub(crate) fn answer(&mut self) -> (u16, Value) {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "ends within a head: {head:?}");
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_lowercase()),
            }
        }
        let status = head[0].strip_prefix("http/1.1 ").unwrap()[..3].parse().unwrap();
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    /// What the server sends until it hangs up.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        rest
    }
}
