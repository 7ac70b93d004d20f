// Thirty-two players on a WebSocket server (RFC 6455), each of which sends twenty messages a second.
const net = require('net');
const port = Number(process.argv[2]);
let players = 0;
const mask = Buffer.from([1, 2, 3, 4]);

function frame(text) {
  const masked = Buffer.from(text).map((byte, at) => byte ^ mask[at % 4]);
  return Buffer.concat([Buffer.from([0x81, 0x80 | masked.length]), mask, masked]);
}

function play(number) {
  const socket = net.connect(port, '127.0.0.1', () => {
    socket.setNoDelay(true);
    socket.write('GET / HTTP/1.1\r\nHost: field\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
      + 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n');
  });
  socket.once('data', () => {
    players += 1;
    if (players === 32) console.log('all players are in');
    let turn = 0;
    setInterval(() => socket.write(frame(`{"player":${number},"turn":${turn++},"x":0.5,"y":0.25}`)), 50);
    socket.resume();
  });
  socket.on('error', () => process.exit(1));
}

for (let number = 0; number < 32; number += 1) setTimeout(play, number * 10, number);
