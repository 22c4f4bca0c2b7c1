'use strict';
/*
 * http.js: reads HTTP/1.1 requests from a socket, byte by byte under our control.
 *
 * Node's own http module cannot misbehave on purpose (stop reading in the middle, answer before the body, hold back
 * `100 Continue`), so the receiver reads by itself. A RequestReader is fed chunks and calls back:
 *
 *   onHead(req)     the head is complete; return false to stop here for good (nothing more is parsed)
 *   onRequest(req)  the body is complete; parsing is blocked until next() (one request at a time, pipelining waits)
 *   onError(text)   not HTTP/1.x; parsing stops
 *
 * req: { method, target, path, version, headers (lower case), keepAlive, expect, body (Buffer) }
 */
const MAX_HEAD = 256 * 1024;
const MAX_BODY = 256 * 1024 * 1024;
const EMPTY = Buffer.alloc(0);
const HEAD_END = Buffer.from('\r\n\r\n');

function parseHead(text) {
	const lines = text.split('\r\n');
	const m = /^([A-Z]+) (\S+) HTTP\/1\.([01])$/.exec(lines[0]);
	if (!m)
		return null;
	const headers = Object.create(null);
	for (let i = 1; i < lines.length; i++) {
		const colon = lines[i].indexOf(':');
		if (colon <= 0)
			return null;
		const name = lines[i].slice(0, colon).toLowerCase();
		const value = lines[i].slice(colon + 1).trim();
		headers[name] = name in headers ? headers[name] + ', ' + value : value;
	}
	const connection = (headers.connection || '').toLowerCase();
	const q = m[2].indexOf('?');
	return {
		method: m[1], target: m[2], path: q < 0 ? m[2] : m[2].slice(0, q), version: '1.' + m[3], headers,
		keepAlive: m[3] === '1' ? !connection.includes('close') : connection.includes('keep-alive'),
		expect: /100-continue/i.test(headers.expect || ''),
		body: EMPTY,
	};
}

class RequestReader {
	constructor(handlers) {
		this.handlers = handlers;
		this.buf = EMPTY;
		this.state = 'head';
		this.req = null;
		this.parts = null;
		this.left = 0;
		this.running = false;
	}

	/** Bytes not yet parsed: the caller stops reading the socket when pipelined requests pile up. */
	get pending() {
		return this.buf.length;
	}

	feed(chunk) {
		this.buf = this.buf.length ? Buffer.concat([this.buf, chunk]) : chunk;
		this.run();
	}

	/** The answer to the current request is out: go on with the next one. */
	next() {
		if (this.state !== 'busy')
			return;
		this.state = 'head';
		if (!this.running)
			this.run();
	}

	stop() {
		this.state = 'stopped';
		this.buf = EMPTY;
	}

	fail(text) {
		this.stop();
		this.handlers.onError(text);
	}

	run() {
		this.running = true;
		while (this.step())
			;
		this.running = false;
	}

	/** Goes on as far as one state; true when there may be more to do with the bytes at hand. */
	step() {
		switch (this.state) {
		case 'head': return this.runHead();
		case 'length': return this.runLength();
		case 'chunk-size': return this.runChunkSize();
		case 'chunk-data': return this.runChunkData();
		case 'trailer': return this.runTrailer();
		default: return false;
		}
	}

	runHead() {
		const end = this.buf.indexOf(HEAD_END);
		if (end < 0) {
			if (this.buf.length > MAX_HEAD)
				this.fail('head too large');
			else if (this.buf.length >= 16 && !/^[A-Z]+ \S/.test(this.buf.toString('latin1', 0, 16)))
				this.fail('no request line');
			return false;
		}
		const req = parseHead(this.buf.toString('latin1', 0, end));
		if (!req) {
			this.fail('malformed head');
			return false;
		}
		this.buf = this.buf.subarray(end + 4);
		this.req = req;
		this.parts = [];
		if (/chunked/i.test(req.headers['transfer-encoding'] || ''))
			this.state = 'chunk-size';
		else {
			this.left = Number(req.headers['content-length'] || 0);
			if (!Number.isSafeInteger(this.left) || this.left < 0 || this.left > MAX_BODY) {
				this.fail('bad content-length');
				return false;
			}
			this.state = 'length';
		}
		if (this.handlers.onHead(req) === false) {
			this.stop();
			return false;
		}
		return this.state !== 'stopped';
	}

	take(n) {
		const part = this.buf.subarray(0, n);
		this.buf = this.buf.subarray(part.length);
		this.left -= part.length;
		this.parts.push(part);
	}

	runLength() {
		this.take(this.left);
		return this.left === 0 ? this.finish() : false;
	}

	line() {
		const end = this.buf.indexOf('\r\n');
		if (end < 0)
			return null;
		const text = this.buf.toString('latin1', 0, end);
		this.buf = this.buf.subarray(end + 2);
		return text;
	}

	runChunkSize() {
		const text = this.line();
		if (text === null)
			return false;
		if (!/^[0-9a-fA-F]+(;.*)?$/.test(text)) {
			this.fail('bad chunk size');
			return false;
		}
		const size = parseInt(text, 16);
		this.left = size + 2;
		this.state = size === 0 ? 'trailer' : 'chunk-data';
		return true;
	}

	runChunkData() {
		if (this.buf.length < this.left)
			return false;
		this.take(this.left - 2);
		this.buf = this.buf.subarray(2);
		this.state = 'chunk-size';
		return true;
	}

	runTrailer() {
		for (;;) {
			const text = this.line();
			if (text === null)
				return false;
			if (text === '')
				return this.finish();
		}
	}

	finish() {
		this.req.body = this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts);
		this.parts = null;
		this.state = 'busy';
		this.handlers.onRequest(this.req);
		return this.state !== 'busy' && this.state !== 'stopped';
	}
}

const REASONS = {
	200: 'OK', 201: 'Created', 202: 'Accepted', 204: 'No Content', 301: 'Moved Permanently', 302: 'Found',
	303: 'See Other', 304: 'Not Modified', 307: 'Temporary Redirect', 308: 'Permanent Redirect', 400: 'Bad Request',
	401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found', 408: 'Request Timeout', 409: 'Conflict', 410: 'Gone',
	413: 'Payload Too Large', 422: 'Unprocessable Entity', 425: 'Too Early', 429: 'Too Many Requests',
	500: 'Internal Server Error', 502: 'Bad Gateway', 503: 'Service Unavailable', 504: 'Gateway Timeout',
};

/** Bytes of a status line and headers; headers is an object, a value may be an array. */
function formatHead(status, headers) {
	let text = `HTTP/1.1 ${status} ${REASONS[status] || 'Status'}\r\n`;
	for (const [name, value] of Object.entries(headers || {}))
		for (const v of Array.isArray(value) ? value : [value])
			text += `${name}: ${v}\r\n`;
	return text + '\r\n';
}

module.exports = { RequestReader, formatHead };
