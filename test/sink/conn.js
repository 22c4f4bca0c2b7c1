'use strict';
/*
 * conn.js: one connection of the receiver and what a verb may do with it.
 *
 * Life of a request: head read → (body read) → journal row on disk → the plan runs → end. A request ends when its answer
 * was handed to the kernel or when its connection is gone. One request at a time a connection.
 */
const { RequestReader, formatHead } = require('./http.js');

const PENDING_MAX = 1 << 20;

class Conn {
	/** receiver: see receiver.js; socket: net or TLS; bare: the TCP socket under TLS, or the same; deaf: read nothing. */
	constructor(receiver, socket, bare, deaf) {
		this.receiver = receiver;
		this.socket = socket;
		this.bare = bare;
		this.id = receiver.nextConn++;
		this.req = null;
		this.entry = null;			// what the receiver knows of the request under way
		this.bytesOut = 0;
		this.timers = new Set();
		this.gone = false;
		this.reader = new RequestReader({
			onHead: (req) => receiver.onHead(this, req),
			onRequest: (req) => receiver.onRequest(this, req),
			onError: (text) => receiver.onBadRequest(this, text),
		});
		socket.setNoDelay(true);
		if (!deaf)
			socket.on('data', (chunk) => this.onData(chunk));
		socket.on('error', () => socket.destroy());
		socket.on('close', () => this.onClose());
		if (bare !== socket)
			bare.on('error', () => this.onClose());
	}

	onData(chunk) {
		this.reader.feed(chunk);
		if (this.reader.pending > PENDING_MAX && this.reader.state === 'busy')
			this.socket.pause();
	}

	onClose() {
		if (this.gone)
			return;
		this.gone = true;
		for (const t of this.timers)
			clearTimeout(t);
		this.timers.clear();
		this.receiver.endRequest(this, 'closed');
		this.receiver.conns.delete(this);
	}

	/** A whole answer; keeps the connection when the sender wants it. */
	answer(status, headers, body) {
		if (this.gone)
			return;
		if (status < 200) {
			this.write(formatHead(status, headers));
			return;
		}
		const keep = this.req.keepAlive;
		const bare = status === 204 || status === 304;
		const bytes = bare ? 0 : Buffer.byteLength(body);
		const head = formatHead(status, {
			...headers,
			...(bare ? {} : { 'Content-Length': bytes }),
			...(keep ? {} : { Connection: 'close' }),
		});
		if (bytes === 0 || this.req.method === 'HEAD' || typeof body === 'string')
			this.socket.write(bytes === 0 || this.req.method === 'HEAD' ? head : head + body);
		else
			this.socket.write(Buffer.concat([Buffer.from(head), body]));
		this.bytesOut += head.length + bytes;
		this.receiver.endRequest(this, 'answered');
		if (!keep) {
			this.socket.end();
			return;
		}
		if (this.socket.isPaused())
			this.socket.resume();
		this.reader.next();
	}

	write(bytes, done) {
		if (this.gone || this.socket.destroyed)
			return false;
		this.bytesOut += bytes.length;
		return this.socket.write(bytes, done);
	}

	/** next() gives the next piece or null at the end; waits while the peer does not take it. */
	pump(next) {
		const go = () => {
			while (!this.gone && !this.socket.destroyed) {
				const piece = next();
				if (piece === null)
					return;
				if (!this.write(piece)) {
					this.socket.once('drain', go);
					return;
				}
			}
		};
		go();
	}

	after(ms, fn) {
		const t = setTimeout(() => {
			this.timers.delete(t);
			if (!this.gone)
				fn();
		}, ms);
		this.timers.add(t);
	}

	every(ms, fn) {
		const again = () => {
			fn();
			this.after(ms, again);
		};
		this.after(ms, again);
	}

	/** Says nothing, but notices when the peer leaves. */
	hold(ms) {
		this.socket.resume();
		this.after(ms, () => this.reset());
	}

	/** Reads nothing any more either. */
	freeze(ms) {
		this.socket.pause();
		this.after(ms, () => this.reset());
	}

	close() {
		this.socket.end();
	}

	reset() {
		if (this.gone)
			return;
		try {
			this.bare.resetAndDestroy();
		} catch (e) {
			this.socket.destroy();
		}
	}
}

module.exports = { Conn };
