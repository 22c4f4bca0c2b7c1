'use strict';
const test = require('node:test');
const assert = require('node:assert');
const crypto = require('crypto');
const fs = require('fs');
const net = require('net');
const { SECRET, startSink, talk, post, message, anyHead, until, sleep } = require('./testlib.js');

test('journal rows say what came and what was answered', async (t) => {
	const sink = await startSink();
	t.after(() => sink.stop());
	await sink.call('POST', '/secret', { path: '/ok', secret: SECRET });
	assert.equal((await post(sink, '/ok?a=1', { id: 'a', body: '{"n":"ü"}' })).status, 200);
	await sleep(30);
	assert.equal((await post(sink, '/ok?a=1', { id: 'a', body: '{"n":"ü"}' })).status, 200);
	const [one, two] = sink.journal();
	assert.equal(one.id, 'a');
	assert.equal(one.try, 1);
	assert.equal(one.gap, null);
	assert.equal(one.path, '/ok?a=1');
	assert.equal(one.body, '{"n":"ü"}');
	assert.equal(one.sha256, crypto.createHash('sha256').update('{"n":"ü"}').digest('hex'));
	assert.equal(one.verified, true);
	assert.equal(one.nsig, 1);
	assert.equal(one.status, 200);
	assert.equal(one.complete, true);
	assert.equal(two.try, 2);
	assert.ok(two.gap >= 20 && two.gap < 2000);
});

test('signatures: wrong secret, changed body, old stamp, no secret, rotation', async (t) => {
	const sink = await startSink();
	t.after(() => sink.stop());
	await sink.call('POST', '/secret', { path: '/s/*', secret: SECRET });
	const other = 'whsec_' + Buffer.alloc(24, 7).toString('base64');
	await sink.call('POST', '/mode', { path: '/s/x', verb: 'ok' });
	await post(sink, '/s/x', { id: 'good' });
	await post(sink, '/s/x', { id: 'wrong', secret: other });
	await talk(sink.port, message('/s/x', { id: 'changed', body: '{"a":1}' }).replace('{"a":1}', '{"a":2}'), { done: anyHead });
	await post(sink, '/s/x', { id: 'old', at: new Date(Date.now() - 301000) });
	await post(sink, '/ok', { id: 'none' });
	await sink.call('POST', '/secret', { path: '/s/*', secret: other, add: true });
	await post(sink, '/s/x', { id: 'new', secret: other });
	await post(sink, '/s/x', { id: 'still' });
	const verified = Object.fromEntries(sink.journal().map((r) => [r.id, r.verified]));
	assert.deepEqual(verified, { good: true, wrong: false, changed: false, old: false, none: null, new: true, still: true });
	assert.match(sink.journal().find((r) => r.id === 'old').verify_error, /too old/);
});

test('rows are on disk before the answer: SIGKILL loses none', async () => {
	const sink = await startSink();
	const answered = new Set();
	let n = 0;
	const sockets = [];
	for (let c = 0; c < 16; c++) {
		const socket = net.connect(sink.port, '127.0.0.1');
		const send = () => {
			const id = `k${c}-${n++}`;
			socket.current = id;
			socket.write(message('/ok', { id }));
		};
		socket.on('connect', send);
		socket.on('error', () => {});
		socket.on('data', () => {
			answered.add(socket.current);
			send();
		});
		sockets.push(socket);
	}
	await until(() => answered.size > 300);
	await sink.stop('SIGKILL');
	sockets.forEach((s) => s.destroy());
	const written = new Set(sink.journal().map((r) => r.id));
	assert.ok(answered.size > 300);
	for (const id of answered)
		assert.ok(written.has(id), `${id} was answered but is not in the journal`);
});

test('a restart goes on counting tries and mends a torn line', async (t) => {
	let sink = await startSink();
	assert.equal((await post(sink, '/fail-first/2', { id: 'r' })).status, 500);
	await sink.stop('SIGKILL');
	fs.appendFileSync(sink.file, '{"kind":"request","id":"torn');
	sink = await startSink([], sink.dir);
	t.after(() => sink.stop());
	assert.equal((await post(sink, '/fail-first/2', { id: 'r' })).status, 500);
	assert.equal((await post(sink, '/fail-first/2', { id: 'r' })).status, 200);
	assert.deepEqual(sink.journal().map((r) => r.try), [1, 2, 3]);
});

test('keep-alive, pipelining, pieces, chunked bodies, HTTP/1.0', async (t) => {
	const sink = await startSink();
	t.after(() => sink.stop());
	const count = (n) => (text) => text.split('HTTP/1.1 200 OK').length - 1 === n;
	const three = ['p1', 'p2', 'p3'].map((id) => message('/ok', { id })).join('');
	assert.equal((await talk(sink.port, three, { ms: 2000, done: count(3) })).how, 'done');
	assert.deepEqual(sink.journal().map((r) => r.conn), [1, 1, 1]);

	const slow = message('/ok', { id: 'slow', body: 'x'.repeat(50) });
	const pieces = await talk(sink.port, null, { ms: 3000, done: count(1), pace: async (socket) => {
		for (let i = 0; i < slow.length; i += 7) {
			socket.write(slow.slice(i, i + 7));
			await sleep(1);
		}
	} });
	assert.equal(pieces.how, 'done');

	const chunked = 'POST /ok HTTP/1.1\r\nwebhook-id: ch\r\nTransfer-Encoding: chunked\r\n\r\n'
		+ '3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\n';
	assert.equal((await talk(sink.port, chunked, { ms: 2000, done: count(1) })).how, 'done');
	assert.equal(sink.journal().find((r) => r.id === 'ch').body, 'abc0123456789');

	const old = await talk(sink.port, 'POST /ok HTTP/1.0\r\nwebhook-id: o\r\nContent-Length: 0\r\n\r\n', { ms: 2000 });
	assert.equal(old.how, 'end');
	assert.match(old.text, /^HTTP\/1\.1 200 OK\r\n/);
	const bad = await talk(sink.port, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', { ms: 2000 });
	assert.match(bad.text, /^HTTP\/1\.1 400 /);
	assert.equal(sink.journal('bad').length, 1);
});

test('control: mode, stats, reset, listen, drop, errors', async (t) => {
	const sink = await startSink();
	t.after(() => sink.stop());
	await sink.call('POST', '/mode', { path: '/ok', verb: 'status/503?retry-after=7' });
	const down = await post(sink, '/ok', { id: 'a' });
	assert.equal(down.status, 503);
	assert.match(down.text, /Retry-After: 7\r\n/);
	await sink.call('POST', '/mode', { path: '/ok', verb: null });
	assert.equal((await post(sink, '/ok', { id: 'a' })).status, 200);
	assert.equal((await sink.call('POST', '/mode', { path: '/ok', verb: 'no-such' })).status, 400);
	assert.equal((await post(sink, '/no-such', { id: 'b' })).status, 404);

	await Promise.all([1, 2, 3].map((i) => talk(sink.port, message('/hang', { id: 'h' + i }), { ms: 300 })));
	await until(async () => (await sink.call('GET', '/stats')).body.open_connections === 0);
	const stats = (await sink.call('GET', '/stats')).body;
	assert.deepEqual(stats.paths['/ok'].status, { 503: 1, 200: 1 });
	assert.equal(stats.paths['/hang'].max_open, 3);
	assert.equal(stats.paths['/hang'].open, 0);
	assert.equal(stats.ids, 5);

	const { port } = (await sink.call('POST', '/listen', { verb: 'reset-before-read' })).body;
	assert.equal((await talk(port, message('/ok'), { ms: 1000 })).how, 'reset');
	const held = talk(sink.port, message('/hang', { id: 'd' }), { ms: 3000 });
	await until(async () => (await sink.call('GET', '/stats')).body.paths['/hang'].open === 1);
	assert.equal((await sink.call('POST', '/drop')).body.dropped, 1);
	assert.equal((await held).how, 'reset');
	await sink.call('POST', '/reset', { journal: true });
	assert.equal((await sink.call('GET', '/stats')).body.requests, 0);
	assert.equal(sink.journal('all').length <= 1, true);		// the end of the dropped one may come after
});

test('two requests of one id at a time are told as overlap; the end of a held one says how long', async (t) => {
	const sink = await startSink();
	t.after(() => sink.stop());
	const first = talk(sink.port, message('/hang', { id: 'o' }), { ms: 300 });
	await until(() => sink.journal().length === 1);
	await post(sink, '/ok', { id: 'o' });
	await first;
	await until(() => sink.journal('end').length === 1);
	assert.deepEqual(sink.journal().map((r) => r.overlap), [0, 1]);
	const [end] = sink.journal('end');
	assert.ok(end.held_ms >= 200 && end.held_ms < 2000);
	assert.equal(end.id, 'o');
});

test('it ends when its standard input closes', async () => {
	const { spawn } = require('child_process');
	const child = spawn(process.execPath, [require.resolve('./sink.js'), '--watch-stdin'], { stdio: ['pipe', 'pipe', 'inherit'] });
	await new Promise((resolve) => child.stdout.once('data', resolve));
	const ended = new Promise((resolve) => child.once('exit', resolve));
	child.stdin.end();
	assert.equal(await ended, 0);
});

test('several thousand a second, verified and on disk', async (t) => {
	const sink = await startSink();
	t.after(() => sink.stop());
	await sink.call('POST', '/secret', { path: '*', secret: SECRET });
	const wire = Array.from({ length: 50 }, (x, i) => message('/ok', { id: 'f' + i, body: 'x'.repeat(400) }));
	let n = 0;
	const start = Date.now();
	await Promise.all(Array.from({ length: 32 }, () => new Promise((resolve) => {
		const socket = net.connect(sink.port, '127.0.0.1', () => socket.write(wire[n++ % 50]));
		socket.on('data', () => (n < 6000 ? socket.write(wire[n++ % 50]) : (socket.destroy(), resolve())));
	})));
	const rate = Math.round(n * 1000 / (Date.now() - start));
	t.diagnostic(`${rate} requests a second`);
	assert.ok(rate > 500, 'even a busy machine does more');
	assert.equal((await sink.call('GET', '/stats')).body.unverified, 0);
});
