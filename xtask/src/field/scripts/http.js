// A web server that answers each request with a small file, read by the pool of threads.
const http = require('http');
const fs = require('fs');
const [port, file] = process.argv.slice(2);

http
  .createServer((request, response) => {
    fs.readFile(file, (error, data) => response.end(error ? 'no file' : data));
  })
  .listen(Number(port), '127.0.0.1');
