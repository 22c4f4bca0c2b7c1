'use strict';
/*
 * receiver.js: what the sink knows: ids and their tries, paths and their counts, overrides, the journal.
 *
 * Journal rows (JSON lines), all with t (ms) and conn:
 *   kind request  id (webhook-id), try, gap (ms since the try before), overlap (other requests with this id under way),
 *                 method, path (as asked), verb, status (the one the sender gets to see, or null), complete (a whole good
 *                 answer), verified (true, false, null: no secret known), verify_error, ts (webhook-timestamp), nsig
 *                 (signatures in the header), bytes, sha256, body; headers when asked for
 *   kind end      how a request ended that got no whole answer: id, held_ms, bytes_out, why (closed)
 *   kind conn     a connection to a raw port: verb, port
 *   kind bad      something that is no HTTP request: error
 */
const crypto = require('crypto');
const fs = require('fs');
const { Conn } = require('./conn.js');
const { Journal, readJournal } = require('./journal.js');
const { Verifier } = require('./verify.js');
const { plan } = require('./verbs.js');

function sha256(bytes) {
	return crypto.createHash('sha256').update(bytes).digest('hex');
}

class Receiver {
	/** opts: journal (file or null), sync, bodies, headers */
	constructor(opts) {
		this.opts = opts;
		this.ids = new Map();			// webhook-id → { tries, last, open }
		this.modes = new Map();			// path → verb
		this.conns = new Set();
		this.nextConn = 1;
		this.verifier = new Verifier();
		this.resetStats();
		if (opts.journal && fs.existsSync(opts.journal))
			this.restore(readJournal(opts.journal));
		this.journal = opts.journal ? new Journal(opts.journal, { sync: opts.sync }) : null;
	}

	resetStats() {
		this.stats = { since: Date.now(), requests: 0, bad: 0, connections: 0, max_connections: 0, verified: 0,
			unverified: 0 };
		this.paths = new Map();
	}

	/** A restarted sink goes on counting tries where its journal ends. */
	restore(rows) {
		for (const row of rows)
			if (row.kind === 'request' && row.id) {
				const known = this.idOf(row.id);
				known.tries = Math.max(known.tries, row.try);
				known.last = row.t;
			}
	}

	idOf(id) {
		let known = this.ids.get(id);
		if (!known)
			this.ids.set(id, known = { tries: 0, last: null, open: 0 });
		return known;
	}

	pathOf(path) {
		let p = this.paths.get(path);
		if (!p) {
			p = { requests: 0, open: 0, max_open: 0, status: {}, verbs: {}, verified: 0, unverified: 0, first_t: null,
				last_t: null };
			this.paths.set(path, p);
		}
		return p;
	}

	/* connections */

	/** verb: a raw port's verb, done without reading; null: HTTP. */
	onConnection(socket, bare, verb, port) {
		const conn = new Conn(this, socket, bare, verb !== null);
		this.conns.add(conn);
		this.stats.connections++;
		this.stats.max_connections = Math.max(this.stats.max_connections, this.conns.size);
		if (!verb)
			return;
		const doit = plan(verb, { id: '', try: 1 });
		conn.reader.stop();
		conn.req = { expect: true, keepAlive: false, method: 'POST' };
		this.write({ kind: 'conn', t: Date.now(), conn: conn.id, verb: doit.verb, port }, () => doit.run(conn));
	}

	/* requests */

	onHead(conn, req) {
		const now = Date.now();
		const id = req.headers['webhook-id'] || null;
		const known = id ? this.idOf(id) : { tries: 0, last: null, open: 0 };
		const path = this.pathOf(req.path);
		const entry = { id, known, path, t: now, try: ++known.tries, gap: known.last === null ? null : now - known.last,
			overlap: known.open, plan: null };
		known.last = now;
		known.open++;
		path.requests++;
		path.max_open = Math.max(path.max_open, ++path.open);
		path.first_t = path.first_t || now;
		path.last_t = now;
		this.stats.requests++;
		const verb = this.modes.get(req.path) || this.modes.get('*') || req.target;
		entry.plan = plan(verb, { id: id || '', try: entry.try });
		conn.req = req;
		conn.entry = entry;
		conn.bytesOut = 0;
		if (entry.plan.atHead) {
			this.record(conn, req, entry, false);
			return false;
		}
		if (req.expect)
			conn.write('HTTP/1.1 100 Continue\r\n\r\n');
		return true;
	}

	onRequest(conn, req) {
		this.record(conn, req, conn.entry, true);
	}

	/** Writes the journal row and, when it is on disk, does what is planned. */
	record(conn, req, entry, whole) {
		const doit = entry.plan;
		const body = whole ? req.body.toString('utf8') : null;
		const check = whole ? this.verifier.check(req.path, body, req.headers) : { verified: null };
		if (check.verified !== null) {
			this.stats[check.verified ? 'verified' : 'unverified']++;
			entry.path[check.verified ? 'verified' : 'unverified']++;
		}
		const label = doit.status === null ? 'none' : String(doit.status);
		entry.path.status[label] = (entry.path.status[label] || 0) + 1;
		entry.path.verbs[doit.verb] = (entry.path.verbs[doit.verb] || 0) + 1;
		if (!this.journal) {
			doit.run(conn);
			return;
		}
		const row = { kind: 'request', t: entry.t, conn: conn.id, id: entry.id, try: entry.try, gap: entry.gap,
			overlap: entry.overlap, method: req.method, path: req.target, verb: doit.verb, status: doit.status,
			complete: doit.complete, verified: check.verified, verify_error: check.error,
			ts: Number(req.headers['webhook-timestamp']) || null,
			nsig: (req.headers['webhook-signature'] || '').split(' ').filter((s) => s.startsWith('v1,')).length };
		if (whole) {
			row.bytes = req.body.length;
			row.sha256 = sha256(req.body);
			if (this.opts.bodies)
				row.body = body;
		}
		if (this.opts.headers)
			row.headers = req.headers;
		this.journal.append(row, () => doit.run(conn));
	}

	onBadRequest(conn, error) {
		this.stats.bad++;
		this.write({ kind: 'bad', t: Date.now(), conn: conn.id, error }, () => {
			conn.write('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
			conn.close();
		});
	}

	endRequest(conn, why) {
		const entry = conn.entry;
		if (!entry)
			return;
		conn.entry = null;
		entry.known.open--;
		entry.path.open--;
		if (why !== 'answered')
			this.write({ kind: 'end', t: Date.now(), conn: conn.id, id: entry.id, verb: entry.plan.verb,
				held_ms: Date.now() - entry.t, bytes_out: conn.bytesOut, why });
	}

	write(row, done) {
		if (this.journal)
			this.journal.append(row, done);
		else if (done)
			done();
	}

	/* control */

	report() {
		let ids = 0;
		let tries = 0;
		for (const k of this.ids.values()) {
			ids++;
			tries += k.tries;
		}
		return { ...this.stats, open_connections: this.conns.size, ids, tries, paths: Object.fromEntries(this.paths),
			modes: Object.fromEntries(this.modes) };
	}

	/** Forgets counts, tries and overrides; the journal only when asked. Secrets stay. */
	reset(withJournal) {
		this.resetStats();
		this.ids.clear();
		this.modes.clear();
		if (withJournal && this.journal)
			this.journal.truncate();
	}

	dropAll() {
		const n = this.conns.size;
		for (const conn of [...this.conns])
			conn.reset();
		return n;
	}
}

module.exports = { Receiver };
