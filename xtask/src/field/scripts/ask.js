// Asks a web server over sixteen connections, again as soon as it has answered.
const http = require('http');
const port = Number(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });

function ask() {
  const request = http.get({ host: '127.0.0.1', port, agent }, (response) => {
    response.resume();
    response.on('end', ask);
  });
  request.on('error', () => setTimeout(ask, 100));
}

for (let i = 0; i < 16; i += 1) ask();
