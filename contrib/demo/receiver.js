'use strict';
/*
 * receiver.js: a webhook endpoint as a shop's e-mail service would run it: verifies each message with the public Standard
 * Webhooks library, takes an id once, writes what it got, and counts.
 *
 *   node receiver.js --secrets FILE [--port 0] [--out FILE] [--stumble N] [--quiet]
 *
 * --secrets   JSON {"/path": "whsec_…"}, read again when it changed; a path without a secret answers 404
 * --out       one JSON line a message: { t, id, try, path, type, user_id, verified, duplicate, status, body }
 * --stumble N the first try of every Nth new id is answered 503, so that retries are seen
 *
 * Prints {"port": …} when ready and, at SIGTERM, SIGINT or the end of standard input, a tally. A wrong or stale signature
 * is answered 401, a known id 200 again (a receiver must bear repeats), anything that verifies 200.
 */
const fs = require('fs');
const http = require('http');
const path = require('path');

function loadWebhook() {
	try {
		return require('standardwebhooks').Webhook;
	} catch (e) {
		return require(path.join(__dirname, '../../test/node_modules/standardwebhooks')).Webhook;
	}
}
const Webhook = loadWebhook();

function parseArgs(argv) {
	const opts = { port: '0' };
	const switches = ['quiet'];
	for (let i = 0; i < argv.length; i++) {
		const name = argv[i].replace(/^--/, '');
		if (switches.includes(name))
			opts[name] = true;
		else if (argv[i].startsWith('--') && ['port', 'secrets', 'out', 'stumble'].includes(name) && i + 1 < argv.length)
			opts[name] = argv[++i];
		else
			throw new Error(`bad argument ${argv[i]}`);
	}
	if (!opts.secrets)
		throw new Error('--secrets is missing');
	return opts;
}

/** The secrets of paths, as the file says now. */
class Secrets {
	constructor(file) {
		this.file = file;
		this.version = null;
		this.hooks = new Map();
	}

	of(where) {
		const stat = fs.statSync(this.file, { throwIfNoEntry: false });
		const version = stat ? `${stat.mtimeMs} ${stat.size} ${stat.ino}` : null;
		if (stat && version !== this.version) {
			try {
				const secrets = JSON.parse(fs.readFileSync(this.file, 'utf8'));
				this.hooks = new Map(Object.entries(secrets).map(([p, s]) => [p, new Webhook(s)]));
				this.version = version;
			} catch (e) {
				process.stderr.write(`receiver: ${this.file}: ${e.message}\n`);		// half written: the next request sees it whole
			}
		}
		return this.hooks.get(where);
	}
}

class Receiver {
	constructor(opts) {
		this.secrets = new Secrets(opts.secrets);
		this.out = opts.out ? fs.openSync(opts.out, 'a') : null;
		this.stumble = Number(opts.stumble || 0);
		this.tries = new Map();			// id → tries
		this.taken = new Set();
		this.rows = new Map();			// "path type" → counts
		this.requests = this.verified = this.refused = 0;
	}

	/** Returns the status to answer. */
	take(where, headers, body) {
		const id = headers['webhook-id'] || '';
		const tries = (this.tries.get(id) || 0) + 1;
		const row = { t: new Date().toISOString(), id, try: tries, path: where, verified: false, duplicate: false, status: 200 };
		const hook = this.secrets.of(where);
		let message = null;

		this.requests++;
		if (!hook)
			row.status = 404;
		else
			try {
				message = hook.verify(body, headers);
				row.verified = true;
			} catch (e) {
				row.status = 401;
				row.error = e.message;
			}
		if (row.verified) {
			this.verified++;
			this.tries.set(id, tries);
			row.type = message && message.type;
			row.user_id = message && message.data && message.data.user_id;
			row.duplicate = this.taken.has(id);
			row.body = message;
			if (this.stumble > 0 && tries === 1 && this.tries.size % this.stumble === 0)
				row.status = 503;
			else
				this.taken.add(id);
			this.count(row);
		} else
			this.refused++;
		if (this.out !== null)
			fs.writeSync(this.out, JSON.stringify(row) + '\n');
		return row.status;
	}

	count(row) {
		const key = `${row.path}\t${row.type}`;
		let c = this.rows.get(key);
		if (!c)
			this.rows.set(key, c = { messages: 0, again: 0, stumbled: 0, users: new Set() });
		if (row.status === 503)
			c.stumbled++;
		else if (row.duplicate)
			c.again++;
		else
			c.messages++;
		c.users.add(row.user_id);
	}

	tally() {
		const lines = [['endpoint', 'rule', 'messages', 'people', 'answered 503', 'repeats']];
		for (const key of [...this.rows.keys()].sort()) {
			const c = this.rows.get(key);
			lines.push([...key.split('\t'), c.messages, c.users.size, c.stumbled, c.again].map(String));
		}
		const widths = lines[0].map((x, i) => Math.max(...lines.map((l) => l[i].length)));
		const text = lines.map((l) => '  ' + l.map((v, i) => (i < 2 ? v.padEnd(widths[i]) : v.padStart(widths[i]))).join('  '));
		text.splice(1, 0, '  ' + widths.map((w) => '-'.repeat(w)).join('  '));
		return text.join('\n') + `\n  ${this.requests} requests, ${this.verified} signatures verified, ${this.refused} refused, `
			+ `${this.taken.size} messages taken\n`;
	}
}

function main() {
	let opts;
	try {
		opts = parseArgs(process.argv.slice(2));
	} catch (e) {
		process.stderr.write(`receiver: ${e.message}\n`);
		process.exit(2);
	}
	const receiver = new Receiver(opts);
	const server = http.createServer((req, res) => {
		const parts = [];
		req.on('data', (b) => parts.push(b));
		req.on('end', () => {
			const status = receiver.take(req.url.replace(/\?.*/, ''), req.headers, Buffer.concat(parts).toString('utf8'));
			res.writeHead(status, { 'Content-Type': 'text/plain' });
			res.end(status === 200 ? 'taken\n' : 'status ' + status + '\n');
		});
	});
	const end = () => {
		if (!opts.quiet)
			process.stdout.write(receiver.tally());
		process.exit(0);
	};
	process.on('SIGTERM', end);
	process.on('SIGINT', end);
	if (!process.stdin.isTTY)
		fs.fstat(0, (err, stat) => {		// a pipe that closes means that our starter is gone; a file or /dev/null does not
			if (!err && (stat.isFIFO() || stat.isSocket()))
				process.stdin.on('end', end).resume();
		});
	server.keepAliveTimeout = 60000;
	server.listen(Number(opts.port), '127.0.0.1', () =>
		process.stdout.write(JSON.stringify({ port: server.address().port }) + '\n'));
}

module.exports = { Receiver };
if (require.main === module)
	main();
