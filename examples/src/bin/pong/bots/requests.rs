//! One connection of an HTTP client: a request, its answer, the next request.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::books::Books;
use super::counted::Counted;
use super::link::connect;
use crate::http::{self, Answer};
use crate::protocol::READ_BYTES;

/// A connection that stays open between requests.
#[derive(Debug)]
pub(super) struct Requests {
    stream: Counted,
    /// The rest of a request that has not been written yet.
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// Whether an answer is still to come.
    waiting: bool,
    /// Header fields of every request.
    fields: String,
    books: Arc<Books>,
}

impl Requests {
    /// Connects.
    pub(super) async fn open(address: SocketAddr, books: &Arc<Books>) -> anyhow::Result<Self> {
        Ok(Self {
            stream: connect(address, books).await?,
            unsent: Vec::new(),
            received: Vec::new(),
            waiting: false,
            fields: fields_of_a_browser(address),
            books: Arc::clone(books),
        })
    }

    /// Whether the answer to the last request is still to come.
    pub(super) fn waiting(&self) -> bool {
        self.waiting
    }

    /// Asks. It is sent while [`Requests::answer`] waits; until that has returned, nothing else may be asked.
    pub(super) fn ask(&mut self, method: &str, target: &str, body: Option<&str>) {
        self.unsent.extend_from_slice(http::request(method, target, &self.fields, body).as_bytes());
        self.waiting = true;
        self.books.sent.add_exchange();
    }

    /// Waits for the answer; an error if the server has hung up or refused. Nothing is lost if it is dropped while it
    /// waits.
    pub(super) async fn answer(&mut self) -> anyhow::Result<Answer> {
        while !self.unsent.is_empty() {
            let written = self.stream.write(&self.unsent).await?;
            self.unsent.drain(..written);
        }
        loop {
            if let Some(answer) = http::take_answer(&mut self.received)? {
                self.waiting = false;
                self.books.received.add_exchange();
                ensure!(matches!(answer.status, 200 | 204), "refused with {}", answer.status);
                return Ok(answer);
            }
            self.received.reserve(READ_BYTES);
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the server hung up");
        }
    }
}

/// What a browser adds to every request that a page makes by `fetch`: long polling pays for it with each poll. These
/// are the fields that Firefox sends on Linux.
fn fields_of_a_browser(address: SocketAddr) -> String {
    format!(
        "Host: {address}\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
         Accept: */*\r\n\
         Accept-Language: en-US,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate\r\n\
         Referer: http://{address}/\r\n\
         Connection: keep-alive\r\n\
         Sec-Fetch-Dest: empty\r\n\
         Sec-Fetch-Mode: cors\r\n\
         Sec-Fetch-Site: same-origin\r\n"
    )
}
