'use strict';
/* testlib.js: a sink as a child process and a client on raw sockets, for the tests of the sink itself. */
const { spawn } = require('child_process');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');
const { Webhook } = require('standardwebhooks');
const { readJournal } = require('./journal.js');

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLw==';
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function tempDir() {
	return fs.mkdtempSync(path.join(os.tmpdir(), 'emk-sink-'));
}

/** { port, control, raw: {verb: port}, journal(kind), stop(signal), call(method, path, body) } */
async function startSink(args = [], dir = tempDir()) {
	const file = path.join(dir, 'journal');
	const child = spawn(process.execPath, [path.join(__dirname, 'sink.js'), '--journal', file, '--watch-stdin', ...args],
		{ stdio: ['pipe', 'pipe', 'inherit'] });
	const line = await new Promise((resolve, reject) => {
		child.stdout.once('data', (b) => resolve(b.toString()));
		child.once('exit', () => reject(new Error('the sink ended')));
	});
	const ready = JSON.parse(line);
	const stop = (signal = 'SIGTERM') => new Promise((resolve) => {
		if (child.exitCode !== null || child.signalCode !== null)
			resolve();
		child.once('exit', resolve);
		child.kill(signal);
	});
	return { dir, file, port: ready.port, control: ready.control, raw: ready.listen, stop,
		journal: (kind = 'request') => readJournal(file).filter((r) => kind === 'all' || r.kind === kind),
		call: (method, url, body) => call(ready.control, method, url, body) };
}

function call(port, method, url, body) {
	return new Promise((resolve, reject) => {
		const req = http.request({ port, host: '127.0.0.1', method, path: url, agent: false }, (res) => {
			let text = '';
			res.on('data', (b) => { text += b; });
			res.on('end', () => resolve({ status: res.statusCode, body: JSON.parse(text) }));
		});
		req.on('error', reject);
		req.end(body === undefined ? undefined : JSON.stringify(body));
	});
}

/** A signed message as bytes on the wire; opts: { id, body, secret, at, headers, method } */
function message(target, opts = {}) {
	const id = opts.id || 'msg_1';
	const body = opts.body === undefined ? '{"type":"t"}' : opts.body;
	const at = opts.at || new Date();
	const lines = [`${opts.method || 'POST'} ${target} HTTP/1.1`, 'Host: localhost', `webhook-id: ${id}`,
		`webhook-timestamp: ${Math.floor(at.getTime() / 1000)}`,
		`webhook-signature: ${new Webhook(opts.secret || SECRET).sign(id, at, body)}`,
		`Content-Length: ${Buffer.byteLength(body)}`, ...(opts.headers || []), '', ''];
	return lines.join('\r\n') + body;
}

/**
 * Sends bytes and gathers what comes until done(text) is true, the peer ends, or ms are over.
 * Resolves with { text, bytes, how: 'done' | 'end' | 'reset' | 'timeout' | 'refused', ms }.
 */
function talk(port, bytes, { ms = 500, done = () => false, pace } = {}) {
	return new Promise((resolve) => {
		const start = Date.now();
		const parts = [];
		let total = 0;
		const socket = net.connect(port, '127.0.0.1', () => bytes && socket.write(bytes));
		const finish = (how) => {
			clearTimeout(timer);
			socket.destroy();
			const all = Buffer.concat(parts);
			resolve({ text: all.toString('latin1'), raw: all, bytes: total, how, ms: Date.now() - start });
		};
		const timer = setTimeout(() => finish('timeout'), ms);
		socket.on('data', (b) => {
			total += b.length;
			if (total < 1 << 22)
				parts.push(b);
			if (done(Buffer.concat(parts).toString('latin1'), total))
				finish('done');
		});
		socket.on('end', () => finish('end'));
		socket.on('error', (e) => finish(e.code === 'ECONNREFUSED' ? 'refused' : 'reset'));
		if (pace)
			pace(socket);
	});
}

const statusIs = (n) => (text) => text.startsWith(`HTTP/1.1 ${n} `) && text.includes('\r\n\r\n');
const anyHead = (text) => /^HTTP\/1\.1 [2-5].*\r\n\r\n/s.test(text);

/** One message, one whole answer; resolves with its status and head. */
async function post(sink, target, opts = {}) {
	const got = await talk(sink.port, message(target, opts), { ms: opts.ms || 2000, done: anyHead });
	const m = /^HTTP\/1\.1 (\d+)/.exec(got.text);
	return { status: m ? Number(m[1]) : null, ...got };
}

/** Waits until fn() is true. */
async function until(fn, ms = 3000) {
	const end = Date.now() + ms;
	while (!(await fn())) {
		if (Date.now() > end)
			return false;
		await sleep(10);
	}
	return true;
}

module.exports = { SECRET, startSink, talk, post, message, statusIs, anyHead, sleep, until, tempDir };
