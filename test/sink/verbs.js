'use strict';
/*
 * verbs.js: how the receiver behaves, well or badly.
 *
 * A verb is written as a path: name/arg?option=value. plan() turns it into a plan for one request:
 *
 *   verb      what was done, for the journal
 *   status    the status that the sender sees, null when it sees none
 *   complete  true when the sender gets one whole, well-formed answer
 *   atHead    decide at the head, before the body is read
 *   run(conn) does it; see conn.js for what a connection can do
 *
 * Nothing here is random: what flaky does is a hash of seed, webhook-id and number of the try, so that a run repeats.
 * Common options: status=N, retry-after=X (seconds, or `date:N` for a date N seconds ahead, or any text), body=TEXT,
 * header=Name:value (may repeat).
 */
const crypto = require('crypto');
const { formatHead } = require('./http.js');

const STALL_LIMIT_MS = 600000;		// nothing is held for longer, so that descriptors come back

/** A number in [0, 1) that depends on the parts only. */
function hash01(...parts) {
	return crypto.createHash('sha256').update(parts.join('|')).digest().readUIntBE(0, 6) / 2 ** 48;
}

function retryAfter(text) {
	const m = /^date:(-?\d+)$/.exec(text);
	return m ? new Date(Date.now() + Number(m[1]) * 1000).toUTCString() : text;
}

function optionHeaders(q) {
	const headers = {};
	if (q.has('retry-after'))
		headers['Retry-After'] = retryAfter(q.get('retry-after'));
	for (const h of q.getAll('header')) {
		const colon = h.indexOf(':');
		headers[h.slice(0, colon)] = h.slice(colon + 1).trim();
	}
	return headers;
}

function statusOf(q, otherwise) {
	return Number(q.get('status') || otherwise);
}

/** A whole answer. Status codes below 200 are no final answer: the sender waits on. */
function answer(verb, status, q, body = status === 200 ? 'ok' : 'status ' + status) {
	const headers = optionHeaders(q);
	const text = q.has('body') ? q.get('body') : body;
	return { verb, status, complete: status >= 200, run: (conn) => conn.answer(status, headers, text) };
}

/** An answer in pieces of our own making; the connection is never used again. */
function raw(verb, status, run) {
	return { verb, status, complete: false, run };
}

/* What a whole answer depends on: the path, the try, the id. */
const answers = {
	ok: (a, q) => answer('ok', statusOf(q, 200), q),
	status: (a, q) => answer('status', Number(a[0] || 200), q),
	gone: (a, q) => answer('gone', 410, q),
	'fail-first': (a, q, info) => (info.try <= Number(a[0] || 1) ? answer('fail-first', statusOf(q, 500), q)
		: answer('ok', 200, q)),
	sequence(a, q, info) {
		const list = (a[0] || '200').split(',').map(Number);
		return answer('sequence', list[Math.min(info.try, list.length) - 1], q);
	},
	flaky(a, q, info) {
		const u = hash01(q.get('seed') || '0', info.id, info.try);
		const p = (name) => Number(q.get(name) || 0);
		let edge = p('p500');
		if (u < edge)
			return answer('flaky-500', 500, q);
		if (u < (edge += p('p503')))
			return answer('flaky-503', 503, q);
		if (u < (edge += p('pnone')))
			return raw('flaky-none', null, (conn) => conn.hold(STALL_LIMIT_MS));
		if (u < (edge += p('preset')))
			return raw('flaky-reset', null, (conn) => conn.reset());
		if (u < (edge += p('pclose')))
			return raw('flaky-close', null, (conn) => conn.close());
		return answer('ok', 200, q);
	},
	delay(a, q, info) {
		const [low, high] = (a[0] || '100').split('-').map(Number);
		const ms = high ? low + (high - low) * hash01(q.get('seed') || '0', info.id, info.try) : low;
		const then = answer('delay', statusOf(q, 200), q);
		return { ...then, run: (conn) => conn.after(ms, () => then.run(conn)) };
	},
	redirect: (a, q) => ({
		verb: 'redirect', status: Number(a[0] || 302), complete: true,
		run: (conn) => conn.answer(Number(a[0] || 302), { Location: q.get('to') || '/ok' }, ''),
	}),
};

/* Silence and broken connections. */
const breaks = {
	hang: () => raw('hang', null, (conn) => conn.hold(STALL_LIMIT_MS)),
	silent: () => ({ ...raw('silent', null, (conn) => conn.freeze(STALL_LIMIT_MS)), atHead: true }),
	'reset-before-read': () => ({ ...raw('reset-before-read', null, (conn) => conn.reset()), atHead: true }),
	'reset-after-read': () => raw('reset-after-read', null, (conn) => conn.reset()),
	'close-after-read': () => raw('close-after-read', null, (conn) => conn.close()),
	'reset-after-answer': (a, q) => ({
		...answer('reset-after-answer', 200, q),
		run: (conn) => conn.write(formatHead(200, { 'Content-Length': 2 }) + 'ok', () => conn.after(20, () => conn.reset())),
	}),
	'close-idle': (a, q) => {
		const then = answer('close-idle', 200, q);		// promises keep-alive and breaks the promise
		return { ...then, run: (conn) => { then.run(conn); conn.after(Number(a[0] || 0), () => conn.close()); } };
	},
	'100-continue-stall': (a, q) => ({
		...raw('100-continue-stall', null, (conn) => {
			if (!conn.req.expect)
				conn.write(formatHead(100));
			conn.hold(STALL_LIMIT_MS);
		}),
		atHead: true,
	}),
};

/** Bytes one at a time, ms apart. */
function drip(conn, bytes, ms, done) {
	let at = 0;
	conn.every(ms, () => {
		if (at < bytes.length)
			conn.write(bytes.subarray(at, ++at));
		else if (done)
			done();
	});
}

const FILL = Buffer.alloc(65536, 'x');

/** total bytes of filler as fast as the peer takes them; Infinity never ends. */
function pour(conn, total, wrap) {
	let left = total;
	conn.pump(() => {
		if (left <= 0) {
			conn.close();
			return null;
		}
		const n = Math.min(left, FILL.length);
		left -= n;
		return wrap ? wrap(FILL.subarray(0, n)) : FILL.subarray(0, n);
	});
}

/** One independent deflate block of 1 MiB of zeros (about 1 kB): repeated, it swells without an end. */
let zeros = null;
function zeroBlock() {
	if (!zeros) {
		const zlib = require('zlib');
		zeros = zlib.deflateRawSync(Buffer.alloc(1 << 20), { level: 9, finishFlush: zlib.constants.Z_FULL_FLUSH });
	}
	return zeros;
}

/* Answers that never end, swell, or crawl. A status was seen, so it counts as given. */
const floods = {
	'slow-headers': (a, q) => raw('slow-headers', null, (conn) =>
		drip(conn, Buffer.from(formatHead(200, { 'X-Slow': 'x'.repeat(1 << 20) })), Number(q.get('ms') || 1000))),
	'slow-body': (a, q) => raw('slow-body', statusOf(q, 200), (conn) => {
		conn.write(formatHead(statusOf(q, 200), { 'Content-Length': FILL.length * 16 }));
		conn.every(Number(q.get('ms') || 1000), () => conn.write('x'));
	}),
	'endless-body': (a, q) => raw('endless-body', statusOf(q, 200), (conn) => {
		conn.write(formatHead(statusOf(q, 200), { 'Transfer-Encoding': 'chunked' }));
		pour(conn, Infinity, (b) => Buffer.concat([Buffer.from(b.length.toString(16) + '\r\n'), b, Buffer.from('\r\n')]));
	}),
	'big-body': (a, q) => ({
		...raw('big-body', statusOf(q, 200), (conn) => {
			const size = Number(a[0] || 10485760);
			conn.write(formatHead(statusOf(q, 200), { 'Content-Length': size, Connection: 'close' }));
			pour(conn, size);
		}),
		complete: true,
	}),
	'gzip-bomb': (a, q) => raw('gzip-bomb', statusOf(q, 200), (conn) => {
		let left = Math.ceil(Number(a[0] || Infinity) / (1 << 20));
		conn.write(formatHead(statusOf(q, 200), { 'Content-Encoding': 'gzip', Connection: 'close' }));
		conn.write(Buffer.from([31, 139, 8, 0, 0, 0, 0, 0, 0, 255]));
		conn.pump(() => (left-- > 0 ? zeroBlock() : (conn.close(), null)));
	}),
	'huge-headers': (a, q) => raw('huge-headers', null, (conn) => {
		const line = Number(q.get('line') || 65536);
		let left = Number(q.get('bytes') || 10485760);
		let n = 0;
		conn.write('HTTP/1.1 200 OK\r\n');
		conn.pump(() => {
			if (left <= 0) {
				conn.write('Content-Length: 0\r\nConnection: close\r\n\r\n');
				conn.close();
				return null;
			}
			left -= line;
			return `X-Fill-${n++}: ${'x'.repeat(Math.max(1, line - 16))}\r\n`;
		});
	}),
	'endless-1xx': (a, q) => raw('endless-1xx', null, (conn) =>
		conn.every(Number(q.get('ms') || 10), () => conn.write(formatHead(103, { Link: '</s.css>; rel=preload' })))),
};

/* Answers that are not what HTTP says. */
const malformed = {
	'bad-chunk': () => raw('bad-chunk', 200, (conn) => {
		conn.write(formatHead(200, { 'Transfer-Encoding': 'chunked' }) + '5\r\nhello\r\nZZ\r\nworld\r\n');
		conn.after(50, () => conn.close());
	}),
	'short-body': () => raw('short-body', 200, (conn) => {
		conn.write(formatHead(200, { 'Content-Length': 1000 }) + 'only these');
		conn.after(50, () => conn.close());
	}),
	'long-body': () => raw('long-body', 200, (conn) => {
		conn.write(formatHead(200, { 'Content-Length': 2 }) + 'okHTTP/1.1 500 smuggled\r\nContent-Length: 0\r\n\r\n');
		conn.after(50, () => conn.close());
	}),
	http09: () => raw('http09', null, (conn) => {
		conn.write('<html>no status line, as in 1991</html>\n');
		conn.after(50, () => conn.close());
	}),
	garbage: () => raw('garbage', null, (conn) => {
		conn.write(crypto.createHash('sha512').update('garbage').digest());
		conn.after(50, () => conn.close());
	}),
	'invalid-utf8': (a, q) => ({
		verb: 'invalid-utf8', status: statusOf(q, 200), complete: true,
		run: (conn) => conn.answer(statusOf(q, 200), { 'Content-Type': 'text/plain; charset=utf-8' }, Buffer.concat([
			Buffer.from('bad: '), Buffer.from([0xc3, 0x28, 0xff, 0xfe, 0xed, 0xa0, 0x80]),
			Buffer.from(' nul:\0 ansi:\x1b[31mred\x1b[0m bell:\x07 cr:\r\n'), Buffer.from([0xe2, 0x82])])),
	}),
	'set-cookie': (a, q) => {
		const headers = { 'Set-Cookie': ['sid=1; Path=/', 'track=2; Path=/; Max-Age=86400'] };
		return { ...answer('set-cookie', 200, q), run: (conn) => conn.answer(200, headers, 'ok') };
	},
};

const verbs = Object.assign(Object.create(null), answers, breaks, floods, malformed);
const parsed = new Map();

/** 'status/503?retry-after=9' → { name, args, options }; remembered, because paths repeat. */
function parseVerb(text) {
	let v = parsed.get(text);
	if (v)
		return v;
	const q = text.indexOf('?');
	const parts = (q < 0 ? text : text.slice(0, q)).split('/').filter((s) => s !== '');
	v = { name: parts[0] || '', args: parts.slice(1), options: new URLSearchParams(q < 0 ? '' : text.slice(q + 1)) };
	if (parsed.size > 10000)
		parsed.clear();
	parsed.set(text, v);
	return v;
}

function isVerb(text) {
	return parseVerb(text).name in verbs;
}

/** info: { id, try }. An unknown verb answers 404, so that a misspelt path is seen. */
function plan(text, info) {
	const v = parseVerb(text);
	const make = verbs[v.name];
	return make ? make(v.args, v.options, info) : answer('unknown', 404, v.options);
}

module.exports = { plan, isVerb, parseVerb, names: Object.keys(verbs) };
