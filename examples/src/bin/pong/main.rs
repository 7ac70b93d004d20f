//! The WebSocket Pong server.
fn main() {}
