// A server in JavaScript that keeps what it should not: 211 native buffers at every `go`.
const held = [];

function keepChat(n) {
    held.push(Buffer.allocUnsafeSlow(20000 + (n % 7)));
}

function onMessage(n) {
    keepChat(n);
}

process.stdout.write('READY\n');
process.stdin.on('data', (line) => {
    if (!line.toString().startsWith('go')) process.exit(0);
    for (let i = 0; i < 211; i++) onMessage(i);
    process.stdout.write('{}\n');
});
