// h2.js CERT KEY: a receiver that speaks HTTP/2. Says its port; a request to /slow is answered after four seconds, one to /chain when the next one is
// there, or after twenty, any other at once. Tells each request, with the number of its connection, and ends with its standard input.
'use strict';
const fs = require('fs');
const http2 = require('http2');

const [cert, key] = process.argv.slice(2).map((f) => fs.readFileSync(f));
const server = http2.createSecureServer({ cert, key });
let connections = 0;
let last = () => {};
server.on('session', (session) => { session.number = ++connections; });
server.on('stream', (stream, headers) => {
	const path = headers[':path'];
	process.stdout.write(`${path} ${stream.session.number}\n`);
	stream.on('error', () => {});
	stream.resume();
	const answer = () => stream.destroyed || stream.headersSent || (stream.respond({ ':status': 200 }), stream.end());
	if (path === '/chain') {
		last();
		last = answer;
	}
	setTimeout(answer, { '/slow': 4000, '/chain': 20000 }[path] || 0);
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`port ${server.address().port}\n`));
process.stdin.on('end', () => process.exit(0)).resume();
