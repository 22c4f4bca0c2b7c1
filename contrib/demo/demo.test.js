'use strict';
/* the demo's parts: the same seed gives the same day, the day is what its facts say, the receiver believes signatures only */
const test = require('node:test');
const assert = require('node:assert');
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { spawn } = require('child_process');
const { makeDay, HOUR } = require('./shop.js');
const { makeFiles, parseTime } = require('./generate.js');
const { Webhook } = require('../../test/node_modules/standardwebhooks');

const START = Date.parse('2024-05-14T12:00:00Z');

test('the same seed gives the same bytes, another one another day', () => {
	const opts = { seed: 7, shoppers: 60, start: START, slice: 300000 };
	assert.deepEqual(makeFiles(opts), makeFiles(opts));
	assert.notEqual(makeFiles(opts)['afternoon.sql'], makeFiles({ ...opts, seed: 8 })['afternoon.sql']);
});

test('a day of 300 shoppers: a few thousand events, ids unique but for repeats, stamps never ahead', () => {
	const { actions, facts } = makeDay({ seed: 7, shoppers: 300, start: START });
	assert.ok(facts.events > 2500 && facts.events < 6000, `${facts.events} events`);
	for (const name of ['orders', 'refused_orders', 'carts_left', 'carts_rescued', 'sign_ups', 'merges', 'repeats', 'late'])
		assert.ok(facts[name] > 0, name);
	const seen = new Map();
	for (const a of actions) {
		if (a.kind === 'identify')
			continue;
		assert.ok(a.occurred_at <= a.at);
		assert.ok(!a.user_id !== !a.anonymous_id, 'one of the two ids');
		assert.equal(seen.has(a.message_id), !!a.repeat, a.message_id);
		seen.set(a.message_id, a);
	}
	assert.ok(actions.every((a, i) => i === 0 || actions[i - 1].at <= a.at));
});

test('the clock only goes forward and each action has its place', () => {
	const files = makeFiles({ seed: 3, shoppers: 100, start: START, slice: 300000 });
	const stops = [...(files['afternoon.sql'] + files['later.sql']).matchAll(/timestamptz '([^']+)'/g)].map((m) => Date.parse(m[1]));
	assert.ok(stops.every((t, i) => i === 0 || t > stops[i - 1]));
	assert.equal(stops[stops.length - 1], Date.parse(JSON.parse(files['facts.json']).end));
	assert.ok(stops.every((t, i) => t - (i ? stops[i - 1] : START) <= HOUR));
	const { actions } = makeDay({ seed: 3, shoppers: 100, start: START });
	const all = files['shop.sql'] + files['morning.csv'] + files['afternoon.sql'] + files['later.sql'];
	for (const a of actions)
		assert.ok(a.kind === 'identify' || all.includes(a.message_id), a.message_id);
	assert.equal(all.split(/\bm-\d{6}\b|'order-O\d+'/).length - 1, actions.filter((a) => a.kind !== 'identify').length);
	assert.equal(files['afternoon.sql'].split('\\.\n').length, files['afternoon.sql'].split('COPY ').length);
	assert.equal(parseTime('2024-05-14 14:00:00.5+02'), START + 500);
});

test('the receiver: takes, refuses, stumbles, counts', async () => {
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'emk-demo-'));
	const [secrets, out] = [path.join(dir, 'secrets'), path.join(dir, 'out')];
	const secret = 'whsec_' + Buffer.alloc(24, 1).toString('base64');
	const args = ['--secrets', secrets, '--out', out, '--stumble', '2'];
	const child = spawn(process.execPath, [path.join(__dirname, 'receiver.js'), ...args],
		{ stdio: ['pipe', 'pipe', 'inherit'] });
	let printed = '';
	await new Promise((resolve) => child.stdout.on('data', (b) => { printed += b; resolve(); }));
	const { port } = JSON.parse(printed);
	const send = (id, { at = new Date(), key = secret, where = '/mail' } = {}) => new Promise((resolve) => {
		const body = JSON.stringify({ type: 'welcome', data: { user_id: 'u-' + id } });
		http.request({ port, host: '127.0.0.1', agent: false, method: 'POST', path: where, headers: { 'webhook-id': id,
			'webhook-timestamp': Math.floor(at / 1000), 'webhook-signature': new Webhook(key).sign(id, at, body) } },
		(res) => resolve(res.resume().statusCode)).end(body);
	});
	assert.equal(await send('a'), 404);
	fs.writeFileSync(secrets, JSON.stringify({ '/mail': secret }));
	assert.equal(await send('a'), 200);
	assert.equal(await send('b'), 503);
	assert.equal(await send('b'), 200);
	assert.equal(await send('b'), 200);
	assert.equal(await send('c', { at: new Date(Date.now() - 400000) }), 401);
	assert.equal(await send('c', { key: 'whsec_' + Buffer.alloc(24, 2).toString('base64') }), 401);
	const rows = fs.readFileSync(out, 'utf8').trim().split('\n').map((l) => JSON.parse(l));
	assert.deepEqual(rows.map((r) => [r.id, r.status, r.verified, r.duplicate]), [['a', 404, false, false], ['a', 200, true, false],
		['b', 503, true, false], ['b', 200, true, false], ['b', 200, true, true], ['c', 401, false, false], ['c', 401, false, false]]);
	const ended = new Promise((resolve) => child.once('close', resolve));
	child.stdin.end();
	assert.equal(await ended, 0);
	assert.match(printed, /\/mail +welcome +2 +2 +1 +1\n/);
	assert.match(printed, /7 requests, 4 signatures verified, 3 refused, 2 messages taken/);
});
