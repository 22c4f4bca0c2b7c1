// h2.js CERT KEY: a receiver that speaks HTTP/2. Says its port; a request to /slow is answered after four seconds, any other at once. Tells each
// request, with the number of its connection, and ends with its standard input.
'use strict';
const fs = require('fs');
const http2 = require('http2');

const [cert, key] = process.argv.slice(2).map((f) => fs.readFileSync(f));
const server = http2.createSecureServer({ cert, key });
let connections = 0;
server.on('session', (session) => { session.number = ++connections; });
server.on('stream', (stream, headers) => {
	const path = headers[':path'];
	process.stdout.write(`${path} ${stream.session.number}\n`);
	stream.on('error', () => {});
	stream.resume();
	setTimeout(() => stream.destroyed || (stream.respond({ ':status': 200 }), stream.end()), path === '/slow' ? 4000 : 0);
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`port ${server.address().port}\n`));
process.stdin.on('end', () => process.exit(0)).resume();
