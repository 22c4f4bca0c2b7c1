'use strict';
/*
 * control.js: the second port, plain JSON over HTTP, by which a test steers the sink.
 *
 *   GET  /stats                                        counts by path, open connections, most at once
 *   POST /mode    {"path": "/ok", "verb": "status/503"}  the path behaves like this from now on; verb null: as its name says
 *   POST /secret  {"path": "/ok", "secret": "whsec_…", "add": false}   path may end in *; add: the earlier stay valid
 *   POST /listen  {"verb": null | "silent" | "reset-before-read" | "tls-stall" | …, "tls": {...}, "host", "port"}
 *   POST /drop                                         resets every open connection
 *   POST /reset   {"journal": false}                   forgets counts, tries and modes; with journal: empties it
 *   POST /quit
 */
const http = require('http');
const { isVerb } = require('./verbs.js');

function readJson(req) {
	return new Promise((resolve, reject) => {
		const parts = [];
		req.on('data', (b) => parts.push(b));
		req.on('error', reject);
		req.on('end', () => {
			const text = Buffer.concat(parts).toString();
			try {
				resolve(text === '' ? {} : JSON.parse(text));
			} catch (e) {
				reject(e);
			}
		});
	});
}

/** actions: { listen(spec) → Promise<port>, quit() } */
function startControl(receiver, actions, port, host) {
	const routes = {
		'GET /stats': () => receiver.report(),
		'POST /mode': (b) => {
			if (typeof b.path !== 'string')
				throw new Error('path is missing');
			if (b.verb === null || b.verb === undefined)
				receiver.modes.delete(b.path);
			else if (isVerb(b.verb))
				receiver.modes.set(b.path, b.verb);
			else
				throw new Error(`no such verb: ${b.verb}`);
			return { ok: true };
		},
		'POST /secret': (b) => {
			receiver.verifier.setSecret(b.path, b.secret, b.add);
			return { ok: true };
		},
		'POST /listen': async (b) => ({ port: await actions.listen(b) }),
		'POST /drop': () => ({ dropped: receiver.dropAll() }),
		'POST /reset': (b) => {
			receiver.reset(b.journal);
			return { ok: true };
		},
		'POST /quit': () => {
			setImmediate(() => actions.quit());
			return { ok: true };
		},
	};
	const server = http.createServer(async (req, res) => {
		const send = (status, body) => {
			res.writeHead(status, { 'Content-Type': 'application/json', Connection: 'close' });
			res.end(JSON.stringify(body) + '\n');
		};
		const route = routes[`${req.method} ${req.url}`];
		if (!route) {
			send(404, { error: 'no such call' });
			return;
		}
		try {
			send(200, await route(req.method === 'POST' ? await readJson(req) : {}));
		} catch (e) {
			send(400, { error: e.message });
		}
	});
	return new Promise((resolve, reject) => {
		server.on('error', reject);
		server.listen(port, host, () => resolve(server));
	});
}

module.exports = { startControl };
