'use strict';
const test = require('node:test');
const assert = require('node:assert');
const http = require('http');
const tls = require('tls');
const zlib = require('zlib');
const fs = require('fs');
const path = require('path');
const { execFileSync } = require('child_process');
const { startSink, talk, post, message, tempDir, until } = require('./testlib.js');
const { names } = require('./verbs.js');

let sink;
test.before(async () => {
	sink = await startSink(['--listen', 'silent', '--listen', 'garbage', '--tls-stall']);
});
test.after(() => sink.stop());

let serial = 0;
const tried = new Set();
/** One request to a verb, with a fresh id unless given. */
function to(target, opts = {}) {
	tried.add(target.split(/[/?]/)[1]);
	const id = opts.id || 'v' + serial++;
	return { id, got: opts.post ? post(sink, target, { id, ...opts }) : talk(sink.port, message(target, { id, ...opts }), opts) };
}
const rowOf = (id) => sink.journal().find((r) => r.id === id);

async function statuses(target, n, id) {
	const list = [];
	for (let i = 0; i < n; i++)
		list.push((await to(target, { id, post: true }).got).status);
	return list;
}

test('whole answers', async () => {
	assert.deepEqual(await statuses('/ok', 2, 'w1'), [200, 200]);
	assert.deepEqual(await statuses('/ok/any-label', 1), [200]);
	for (const code of [201, 204, 299, 301, 304, 400, 404, 410, 429, 500, 503])
		assert.deepEqual(await statuses(`/status/${code}`, 1), [code]);
	assert.deepEqual(await statuses('/gone', 1), [410]);
	assert.deepEqual(await statuses('/fail-first/3', 5, 'w2'), [500, 500, 500, 200, 200]);
	assert.deepEqual(await statuses('/fail-first/1?status=429', 2, 'w3'), [429, 200]);
	assert.deepEqual(await statuses('/sequence/500,503,200', 4, 'w4'), [500, 503, 200, 200]);
	const all = sink.journal().filter((r) => r.id === 'w2');
	assert.deepEqual(all.map((r) => [r.try, r.verb, r.complete]),
		[[1, 'fail-first', true], [2, 'fail-first', true], [3, 'fail-first', true], [4, 'ok', true], [5, 'ok', true]]);
});

test('retry-after, header, body options; redirect; cookies', async () => {
	assert.match((await to('/status/503?retry-after=120', { post: true }).got).text, /Retry-After: 120\r\n/);
	const dated = (await to('/status/429?retry-after=date:90', { post: true }).got).text;
	const date = Date.parse(/Retry-After: (.*)\r\n/.exec(dated)[1]);
	assert.ok(Math.abs(date - Date.now() - 90000) < 5000);
	assert.match((await to('/ok?header=X-A:%20b&body=hello', { post: true }).got).text, /X-A: b\r\n.*\r\n\r\nhello$/s);
	assert.match((await to('/redirect/307?to=http://10.0.0.1/x', { post: true }).got).text,
		/^HTTP\/1\.1 307 .*Location: http:\/\/10\.0\.0\.1\/x\r\n/s);
	assert.match((await to('/set-cookie', { post: true }).got).text, /Set-Cookie: sid=1.*Set-Cookie: track=2/s);
});

test('flaky does the same for the same ids, about as often as told', async () => {
	tried.add('flaky');
	const { plan } = require('./verbs.js');
	const verb = 'flaky?p500=0.1&pnone=0.05&preset=0.02&seed=7';
	const tally = {};
	for (let i = 0; i < 10000; i++) {
		const p = plan(verb, { id: 'id' + i, try: 1 });
		assert.equal(plan(verb, { id: 'id' + i, try: 1 }).verb, p.verb);
		tally[p.verb] = (tally[p.verb] || 0) + 1;
	}
	assert.ok(Math.abs(tally['flaky-500'] - 1000) < 150);
	assert.ok(Math.abs(tally['flaky-none'] - 500) < 100);
	assert.ok(Math.abs(tally['flaky-reset'] - 200) < 70);
	assert.equal((await to('/flaky?p500=1', { post: true }).got).status, 500);
	assert.equal((await to('/flaky?preset=1', { ms: 1000 }).got).how, 'reset');
	assert.equal((await to('/flaky?pclose=1', { ms: 1000 }).got).how, 'end');
	assert.equal((await to('/flaky?pnone=1', { ms: 200 }).got).how, 'timeout');
	assert.equal((await to('/flaky?p503=1', { post: true }).got).status, 503);
});

test('delay', async () => {
	const fixed = await to('/delay/250', { post: true }).got;
	assert.equal(fixed.status, 200);
	assert.ok(fixed.ms >= 245 && fixed.ms < 1500);
	const range = await to('/delay/50-100?status=500', { post: true }).got;
	assert.equal(range.status, 500);
	assert.ok(range.ms >= 45);
});

test('silence: hang reads and says nothing, silent does not even read', async () => {
	const hang = to('/hang', { ms: 300 });
	assert.deepEqual([(await hang.got).how, (await hang.got).bytes], ['timeout', 0]);
	assert.equal(rowOf(hang.id).status, null);
	assert.equal(rowOf(hang.id).verb, 'hang');
	assert.ok(rowOf(hang.id).sha256);

	const big = 'x'.repeat(64 << 20);		// more than the kernel's buffers hold
	let left = null;
	const silent = to('/silent', { ms: 500, body: '' });
	await silent.got;
	assert.equal(rowOf(silent.id).sha256, undefined);
	const head = `POST /silent HTTP/1.1\r\nwebhook-id: s2\r\nContent-Length: ${big.length}\r\n\r\n`;
	const got = await talk(sink.port, null, { ms: 500, pace: (socket) => {
		socket.write(head + big);
		setTimeout(() => { left = socket.writableLength; }, 400);
	} });
	assert.equal(got.how, 'timeout');
	assert.ok(left > 0, 'the peer takes no more');
});

test('raw ports: silent, tls-stall, garbage', async () => {
	assert.deepEqual((await talk(sink.raw.silent, message('/ok'), { ms: 300 })).how, 'timeout');
	const garbage = await talk(sink.raw.garbage, null, { ms: 1000 });
	assert.equal(garbage.how, 'end');
	assert.equal(garbage.bytes, 64);
	const hello = await new Promise((resolve) => {
		const socket = tls.connect({ port: sink.raw['tls-stall'], host: '127.0.0.1' }, () => resolve('shaken'));
		socket.on('error', () => resolve('error'));
		setTimeout(() => { resolve('stalled'); socket.destroy(); }, 400);
	});
	assert.equal(hello, 'stalled');
	assert.ok(sink.journal('conn').some((r) => r.verb === 'silent'));
});

test('broken connections', async () => {
	const early = to('/reset-before-read', { ms: 1000, body: 'x'.repeat(100000) });
	assert.equal((await early.got).how, 'reset');
	const late = to('/reset-after-read', { ms: 1000 });
	assert.deepEqual([(await late.got).how, (await late.got).bytes], ['reset', 0]);
	assert.ok(rowOf(late.id).sha256);
	const closed = to('/close-after-read', { ms: 1000 });
	assert.deepEqual([(await closed.got).how, (await closed.got).bytes], ['end', 0]);
	const after = to('/reset-after-answer', { ms: 1000 });
	assert.match((await after.got).text, /^HTTP\/1\.1 200 OK/);
	assert.equal((await after.got).how, 'reset');
	assert.equal(rowOf(after.id).complete, true);
	const idle = to('/close-idle', { ms: 1000 });
	assert.equal((await idle.got).how, 'end');
	assert.match((await idle.got).text, /ok$/);
});

test('100-continue: normal verbs say it, the stall never lets the body through', async () => {
	const req = (target, more = '') => `POST ${target} HTTP/1.1\r\nwebhook-id: e\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n${more}`;
	tried.add('100-continue-stall');
	assert.match((await talk(sink.port, req('/ok', 'abc'), { ms: 400 })).text, /^HTTP\/1\.1 100 .*\r\n\r\nHTTP\/1\.1 200 /s);
	const stall = await talk(sink.port, req('/100-continue-stall'), { ms: 300 });
	assert.deepEqual([stall.how, stall.bytes], ['timeout', 0]);
	const plain = await talk(sink.port, message('/100-continue-stall'), { ms: 300 });
	assert.equal(plain.text, 'HTTP/1.1 100 Status\r\n\r\n');
	assert.equal(plain.how, 'timeout');
});

test('slow answers crawl', async () => {
	const heads = await to('/slow-headers?ms=20', { ms: 500 }).got;
	assert.equal(heads.how, 'timeout');
	assert.ok(heads.bytes > 5 && heads.bytes < 40, `${heads.bytes} bytes in 500 ms`);
	assert.equal((await to('/slow-headers', { ms: 300 }).got).bytes, 0);
	const body = await to('/slow-body?ms=20', { ms: 500 }).got;
	assert.match(body.text, /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nx{5,40}$/s);
	const infos = await to('/endless-1xx', { ms: 300 }).got;
	assert.ok(infos.text.split('HTTP/1.1 103').length > 5);
	assert.ok(!/HTTP\/1\.1 2/.test(infos.text));
});

test('floods', async () => {
	const endless = to('/endless-body', { ms: 5000, done: (text, n) => n > 8 << 20 });
	assert.equal((await endless.got).how, 'done');
	assert.equal(rowOf(endless.id).complete, false);
	await until(() => sink.journal('end').some((r) => r.id === endless.id));
	const end = sink.journal('end').find((r) => r.id === endless.id);
	assert.ok(end.bytes_out >= 8 << 20);
	const size = await new Promise((resolve, reject) => http.request({ port: sink.port, host: '127.0.0.1', agent: false,
		path: '/big-body/10485760', method: 'POST' }, (res) => {
		let n = 0;
		res.on('data', (b) => { n += b.length; });
		res.on('end', () => resolve(n));
	}).on('error', reject).end());
	tried.add('big-body');
	assert.equal(size, 10485760);
	const heads = await to('/huge-headers?bytes=1000000', { ms: 3000 }).got;
	assert.equal(heads.how, 'end');
	assert.ok(heads.bytes > 900000 && /X-Fill-0: x{60000}/.test(heads.text));
});

test('the bomb is gzip and swells about a thousandfold', async () => {
	const packed = await to('/gzip-bomb/52428800', { ms: 5000 }).got;
	assert.equal(packed.how, 'end');
	const at = packed.text.indexOf('\r\n\r\n') + 4;
	assert.match(packed.text.slice(0, at), /Content-Encoding: gzip\r\n/);
	const body = packed.raw.subarray(at);
	const full = zlib.gunzipSync(body, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
	assert.equal(full.length, 52428800);
	assert.ok(body.length < full.length / 900);
	assert.equal((await to('/gzip-bomb', { ms: 5000, done: (text, n) => n > 1 << 20 }).got).how, 'done');
});

test('answers that are not HTTP', async () => {
	assert.match((await to('/bad-chunk', { ms: 1000 }).got).text, /chunked\r\n\r\n5\r\nhello\r\nZZ\r\n/);
	assert.match((await to('/short-body', { ms: 1000 }).got).text, /Content-Length: 1000\r\n\r\nonly these$/);
	assert.match((await to('/long-body', { ms: 1000 }).got).text, /Content-Length: 2\r\n\r\nokHTTP\/1\.1 500/);
	assert.match((await to('/http09', { ms: 1000 }).got).text, /^<html>/);
	assert.ok(!(await to('/garbage', { ms: 1000 }).got).text.startsWith('HTTP'));
	const bytes = (await to('/invalid-utf8', { ms: 500 }).got).raw;
	assert.throws(() => new TextDecoder('utf-8', { fatal: true }).decode(bytes));
	assert.ok(bytes.includes(0) && bytes.includes(0x1b));
	const { id, got } = to('/invalid-utf8?status=500', { post: true });
	assert.equal((await got).status, 500);
	assert.equal(rowOf(id).status, 500);
});

test('TLS: a good certificate, TLS 1.1 only, the HTTP/2 storm, reset under TLS', async () => {
	const dir = tempDir();
	const [cert, key] = [path.join(dir, 'c'), path.join(dir, 'k')];
	execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj',
		'/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
	const open = async (spec) => (await sink.call('POST', '/listen', spec)).body.port;
	// what came until it is as much as was expected, or the connection ends
	const ask = (port, text, { bytes = 15, ...opts } = {}) => new Promise((resolve) => {
		const socket = tls.connect({ port, host: 'localhost', ca: fs.readFileSync(cert), ...opts }, () => socket.write(text));
		let got = Buffer.alloc(0);
		const finish = (how) => { clearTimeout(timer); resolve(how); socket.destroy(); };
		const timer = setTimeout(() => finish(got), 30000);
		socket.on('data', (b) => {
			got = Buffer.concat([got, b]);
			if (got.length >= bytes)
				finish(got);
		});
		socket.on('close', () => finish(got));
		socket.on('error', (e) => finish(e.code));
	});
	const port = await open({ tls: { cert, key } });
	assert.match((await ask(port, message('/ok', { id: 'tls' }))).toString(), /^HTTP\/1\.1 200 OK/);
	// now and then node's client tells a reset as an end, about once in two hundred on a busy machine
	const resets = [];
	for (let i = 0; i < 5; i++)
		resets.push(String(await ask(port, message('/reset-after-read', { id: `tls-reset${i}` }))));
	assert.ok(resets.includes('ECONNRESET') && resets.every((r) => r === 'ECONNRESET' || r === ''), resets.join());
	const old = await open({ tls: { cert, key, minVersion: 'TLSv1', maxVersion: 'TLSv1.1' } });
	assert.match(String(await ask(old, message('/ok'))), /^E/);
	assert.match((await ask(old, message('/ok', { id: 'tls11' }),
		{ minVersion: 'TLSv1', ciphers: 'DEFAULT:@SECLEVEL=0' })).toString(), /^HTTP\/1\.1 200 OK/);
	const h2 = await open({ verb: 'h2-goaway', tls: { cert, key } });
	const frames = await ask(h2, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', { bytes: 9 + 17 * 5 + 1, ALPNProtocols: ['h2'] });
	assert.equal(frames[3], 4);
	assert.ok(frames.length > 9 + 17 * 5 && frames[12] === 7);
});

test('every verb was tried', () => {
	assert.deepEqual(names.filter((n) => !tried.has(n)), []);
});
