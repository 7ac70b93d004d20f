// A WebSocket server in the bare language (RFC 6455): it sends each message back, and appends it to a log.
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const [port, file] = process.argv.slice(2);
const log = fs.createWriteStream(file);

// The messages of up to 125 bytes in the frames of a client, and what is left of the last one.
function read(data) {
  const messages = [];
  for (;;) {
    const length = data.length < 2 ? 0 : data[1] & 127;
    if (data.length < 6 + length || data.length < 2) return [messages, data];
    const mask = data.subarray(2, 6);
    messages.push(data.subarray(6, 6 + length).map((byte, at) => byte ^ mask[at % 4]));
    data = data.subarray(6 + length);
  }
}

const server = http.createServer((request, response) => response.end('this is a WebSocket server\n'));
server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  let rest = Buffer.alloc(0);
  socket.on('data', (data) => {
    const [messages, left] = read(Buffer.concat([rest, data]));
    rest = left;
    for (const message of messages) {
      log.write(`${message}\n`);
      socket.write(Buffer.concat([Buffer.from([0x81, message.length]), message]));
    }
  });
});
server.listen(Number(port), '127.0.0.1');
