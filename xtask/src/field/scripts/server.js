// Answers every request, and keeps a buffer a hundred times a second: outside of the heap that V8 collects.
const http = require('http');

const kept = [];
setInterval(() => { kept.push(Buffer.alloc(16 * 1024, 1)); }, 10);
http.createServer((request, response) => {
  response.end(`${kept.length}\n`);
}).listen(Number(process.argv[2]), '127.0.0.1');
