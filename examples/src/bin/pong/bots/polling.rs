//! A player over long polling, as a browser does it: one connection for polls, one for what the player says.

use std::net::SocketAddr;
use std::sync::Arc;

use super::books::Books;
use super::link::Heard;
use super::requests::Requests;
use crate::clock;
use crate::protocol::{Batch, ClientMessage, ServerMessage, encode};
use crate::sessions::SessionId;

/// A bot that is being told things.
#[derive(Debug)]
pub(super) struct Polling {
    polls: Requests,
    posts: Requests,
    session: SessionId,
    /// Number of the message that comes next.
    since: u64,
    /// What is to be said once the last post is answered.
    unsaid: Vec<ClientMessage>,
    /// What the server said when the bot joined, until it is heard.
    welcome: Option<Heard>,
}

impl Polling {
    /// Connects and joins.
    pub(super) async fn join(
        address: SocketAddr,
        hello: &ClientMessage,
        books: &Arc<Books>,
    ) -> anyhow::Result<Self> {
        let mut posts = Requests::open(address, books).await?;
        posts.ask("POST", "/join", Some(&encode(hello)));
        let welcome: ServerMessage = serde_json::from_slice(&posts.answer().await?.body)?;
        let at_ns = clock::now_ns();
        let ServerMessage::Welcome { session, .. } = welcome else {
            anyhow::bail!("wanted a welcome, got {welcome:?}")
        };
        Ok(Self {
            polls: Requests::open(address, books).await?,
            posts,
            session,
            since: 0,
            unsaid: Vec::new(),
            welcome: Some(Heard { messages: vec![welcome], at_ns }),
        })
    }

    /// Says something, when the bot next listens or leaves.
    pub(super) fn say(&mut self, message: ClientMessage) {
        self.unsaid.push(message);
    }

    /// Waits for the next messages, and posts meanwhile what is to be said.
    pub(super) async fn hear(&mut self) -> anyhow::Result<Heard> {
        if let Some(welcome) = self.welcome.take() {
            return Ok(welcome);
        }
        if !self.polls.waiting() {
            let target = format!("/poll?session={}&since={}", self.session, self.since);
            self.polls.ask("GET", &target, None);
        }
        loop {
            self.post();
            tokio::select! {
                answer = self.polls.answer() => {
                    let answer = answer?;
                    let at_ns = clock::now_ns();
                    let Batch { next, messages } = serde_json::from_slice(&answer.body)?;
                    self.since = next;
                    return Ok(Heard { messages, at_ns });
                }
                answer = self.posts.answer(), if self.posts.waiting() => drop(answer?),
            }
        }
    }

    /// Posts what is to be said in one request, unless the last is still to be answered: two on their way at once, over
    /// two connections, could overtake each other.
    fn post(&mut self) {
        if !self.posts.waiting() && !self.unsaid.is_empty() {
            let target = format!("/input?session={}", self.session);
            self.posts.ask("POST", &target, Some(&encode(&self.unsaid)));
            self.unsaid.clear();
        }
    }

    /// Says what is left to say, and goodbye. The poll that is held ends with its connection.
    pub(super) async fn leave(mut self) -> anyhow::Result<()> {
        self.post();
        while self.posts.waiting() {
            self.posts.answer().await?;
            self.post();
        }
        self.posts.ask("POST", &format!("/leave?session={}", self.session), Some(""));
        self.posts.answer().await?;
        Ok(())
    }
}
