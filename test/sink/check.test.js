'use strict';
const test = require('node:test');
const assert = require('node:assert');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const { execFile } = require('child_process');
const { check } = require('./check.js');
const { parseCsv, linesOf, readTable } = require('./tables.js');
const { tempDir } = require('./testlib.js');

const sha = (text) => crypto.createHash('sha256').update(text).digest('hex');

/** A world in order: n events, each sent once, the second one at its second try, the third one dead. */
function world(n = 5) {
	const w = { sink: [], client: [], event: [], delivery: [], attempt: [], decision: [], pending: [], work: [] };
	for (let i = 0; i < n; i++) {
		const id = `0190-${i}`;
		const body = `{"n":${i}}`;
		const dead = i === 2;
		const tries = i === 1 ? 2 : 1;
		w.client.push({ message_id: `m${i}`, result: 'ok' });
		w.event.push({ event_id: `9007199254740993${i}`, message_id: `m${i}`, conflict_of: null });
		w.delivery.push({ id, run_id: `${i}`, event_id: `9007199254740993${i}`, status: dead ? 'dead' : 'delivered', attempts: tries,
			next_attempt_at: '2024-05-01T00:00:00Z', lease: null, body });
		for (let k = 1; k <= tries; k++) {
			const status = dead ? 400 : k < tries ? 500 : 200;
			w.attempt.push({ delivery_id: id, attempt: k, status });
			w.sink.push({ kind: 'request', id, try: k, path: '/ok', sha256: sha(body), body, verified: true, status, complete: true,
				overlap: 0 });
		}
		w.decision.push({ decision_id: `${i}`, run_id: `${i}`, outcome: dead ? 'dead' : 'delivered', delivery_id: id,
			decided_at: '2024-05-01T00:00:00Z' });
	}
	w.client.push({ message_id: 'rolled-back', result: 'failed' }, { message_id: 'lost', result: 'unknown' });
	w.pending.push({ run_id: '99', state: 'waiting', wake_at: '2999-01-01T00:00:00Z' });
	w.sink.push({ kind: 'conn', verb: 'silent' }, { kind: 'request', id: null, path: '/ping', status: 200 });
	return w;
}

const STRICT = { sends: 1, drained: true, requireVerified: true, noOverlap: true, strictTries: true };

test('a world in order has no violation, and is counted', () => {
	const { violations, counts } = check(world(), STRICT);
	assert.deepEqual(violations, []);
	assert.deepEqual(counts, { requests: 6, ids: 5, duplicates: 0, delivered_ids: 4, verified: 6, deliveries: 5, events: 5,
		acked: 5 });
});

/* each planted fault and the rules that must catch it, and no other */
const planted = {
	'an acknowledged event is gone': [['acked_missing', 'orphan_delivery'], (w) => w.event.splice(0, 1)],
	'a rolled-back event is stored': [['failed_stored'], (w) =>
		w.event.push({ event_id: '77', message_id: 'rolled-back', conflict_of: null })],
	'a rolled-back event is sent': [['failed_sent'], (w) => { w.client[0].result = 'failed'; w.client[0].message_id = 'm0'; },
		['failed_stored']],
	'a message tells of a rolled-back event': [['failed_sent', 'unknown_on_wire'], (w) => w.sink.push({ kind: 'request',
		id: 'ghost', try: 1, path: '/ok', sha256: sha('g'), verified: true, status: 200, complete: true, overlap: 0,
		body: '{"data":{"event":{"message_id":"rolled-back"}}}' })],
	'an acknowledged event is not sent': [['sends'], (w) => {
		w.delivery.splice(4, 1);
		w.attempt.splice(5, 1);
		w.decision.splice(4, 1);
		w.sink.splice(5, 1);
	}],
	'one event, two deliveries': [['sends'], (w) => {
		w.delivery.push({ ...w.delivery[0], id: 'twin', run_id: '50' });
		w.decision.push({ ...w.decision[0], decision_id: '50', run_id: '50', delivery_id: 'twin' });
		w.sink.push({ ...w.sink[0], id: 'twin' });
	}],
	'an unknown event that is stored is not sent': [['sends'], (w) =>
		w.event.push({ event_id: '78', message_id: 'lost', conflict_of: null })],
	'one message stored twice': [['event_twice'], (w) => w.event.push({ event_id: '79', message_id: 'm0', conflict_of: null })],
	'the body changes between tries': [['body_changed'], (w) => { w.sink[2].sha256 = sha('other'); }],
	'the body on the wire is not the row\'s': [['body_differs'], (w) => { w.delivery[0].body = '{"n":7}'; }],
	'a second answer 2xx': [['duplicates'], (w) => { w.sink.push({ ...w.sink[0], try: 2 }); w.delivery[0].attempts = 2; }],
	'a wrong signature': [['unverified'], (w) => { w.sink[0].verified = false; }],
	'an unchecked signature': [['unverified'], (w) => { w.sink[0].verified = null; }],
	'two at a time': [['overlap'], (w) => { w.sink[2].overlap = 1; }],
	'more tries than counted': [['try_uncounted'], (w) => { w.sink.push({ ...w.sink[0], try: 2, status: 500 }); }],
	'an attempt row beyond the count': [['attempt_uncounted'], (w) => w.attempt.push({ delivery_id: '0190-0', attempt: 2 })],
	'an attempt row twice': [['attempt_twice'], (w) => w.attempt.push({ ...w.attempt[0] })],
	'said to be delivered, never seen': [['delivered_unseen'], (w) => { w.sink[0].status = 500; }],
	'on the wire, in no table': [['unknown_on_wire'], (w) => w.sink.push({ ...w.sink[0], id: 'stranger' })],
	'a queued row without a due time': [['no_due_time', 'stuck', 'due_unsent', 'decided_too_early'], (w) => {
		w.delivery[0].status = 'queued';
		w.delivery[0].next_attempt_at = null;
	}],
	'in flight without a lease': [['no_due_time', 'stuck', 'due_unsent', 'decided_too_early'], (w) => {
		w.delivery[0].status = 'in_flight';
	}],
	'a run without wake time': [['no_due_time'], (w) => { w.pending[0].wake_at = null; }],
	'a due run that nobody took': [['stuck'], (w) => { w.pending[0].wake_at = '2024-01-01T00:00:00Z'; }],
	'an event that nobody took': [['stuck'], (w) => w.work.push({ event_id: '5', profile_id: 'u' })],
	'a run with two deliveries': [['run_sent_twice'], (w) => { w.delivery[1].run_id = '0'; }],
	'an end without decision': [['decisions_of_delivery'], (w) => w.decision.splice(0, 1)],
	'two final decisions': [['decisions_of_delivery', 'run_ended_twice'], (w) => w.decision.push({ ...w.decision[0] })],
	'a decision that says otherwise': [['decision_differs'], (w) => { w.decision[0].outcome = 'dead'; }],
	'a delivery without its event': [['orphan_delivery', 'sends'], (w) => { w.delivery[0].event_id = '123'; }],
};

for (const [name, [rules, plant, also = []]] of Object.entries(planted))
	test(`planted: ${name}`, () => {
		const w = world();
		plant(w);
		const found = new Set(check(w, STRICT).violations.map((v) => v.rule));
		for (const rule of rules)
			assert.ok(found.has(rule), `${rule} not in ${[...found]}`);
		for (const rule of found)
			assert.ok(rules.concat(also).includes(rule), `unexpected ${rule}`);
	});

test('what options allow', () => {
	const dup = world();
	dup.sink.push({ ...dup.sink[0], try: 2 });
	assert.equal(check(dup, { maxDuplicates: 1 }).violations.length, 0);
	const again = world();
	again.delivery[2].status = 'delivered';
	again.delivery[2].attempts = 2;
	again.sink.push({ ...again.sink.find((r) => r.id === '0190-2'), try: 2, status: 200 });
	again.decision.push({ ...again.decision[2], decision_id: '9', outcome: 'delivered', decided_at: '2024-05-02T00:00:00Z' });
	assert.ok(check(again, {}).violations.length > 0);
	assert.deepEqual(check(again, { ...STRICT, redeliver: true }).violations, []);
	const held = world();
	held.decision.push({ decision_id: '20', run_id: '0', outcome: 'held', delivery_id: null },
		{ decision_id: '21', run_id: '0', outcome: 'late_cancel', delivery_id: '0190-0' });
	assert.deepEqual(check(held, STRICT).violations, []);
	const many = world();
	many.client[0].sends = 2;
	assert.deepEqual(check(many, STRICT).violations.map((v) => v.rule), ['sends']);
	const repeat = world();
	repeat.client.push({ message_id: 'm0', result: 'unknown' });
	repeat.event.push({ event_id: '80', message_id: 'm0', conflict_of: '90071992547409930' });
	assert.deepEqual(check(repeat, STRICT).violations, []);
});

test('files: CSV with quotes and NULL, JSON lines with wide numbers', () => {
	assert.deepEqual(parseCsv('id,body,n\na,"x ""y"",\nz",1\nb,,""\n'),
		[{ id: 'a', body: 'x "y",\nz', n: '1' }, { id: 'b', body: null, n: '' }]);
	const file = path.join(tempDir(), 'table');
	fs.writeFileSync(file, '{"event_id": 9223372036854775807, "body": "{\\"event_id\\": 1}", "attempts": 2}\n');
	assert.deepEqual(readTable(file),
		[{ event_id: '9223372036854775807', body: '{"event_id": 1}', attempts: 2 }]);
});

test('files: longer than a string, in pieces of any size', () => {
	const file = path.join(tempDir(), 'lines');
	const lines = ['', '{"a": "é→𝄞"}', 'x'.repeat(40), '', '{"b": 1}'];
	for (const end of ['', '\n']) {
		fs.writeFileSync(file, lines.join('\n') + end);
		for (const piece of [1, 2, 7, 64])
			assert.deepEqual([...linesOf(file, piece)], lines);
	}
	fs.writeFileSync(file, 'id,body\na,"{\n}"\n');
	assert.deepEqual(readTable(file), [{ id: 'a', body: '{\n}' }]);
	fs.writeFileSync(file, '{"event_id": 9223372036854775807}\n\n{"event_id": 2}');
	assert.deepEqual(readTable(file), [{ event_id: '9223372036854775807' }, { event_id: '2' }]);
});

test('the command: exit codes and output', async () => {
	const dir = tempDir();
	const run = (...args) => new Promise((resolve) => execFile(process.execPath, [path.join(__dirname, 'check.js'), ...args],
		(err, stdout, stderr) => resolve({ code: err ? err.code : 0, stdout, stderr })));
	const w = world();
	const file = (name, rows) => {
		fs.writeFileSync(path.join(dir, name), rows.map((r) => JSON.stringify(r) + '\n').join(''));
		return path.join(dir, name);
	};
	const args = () => ['--sink', file('sink', w.sink), '--client', file('client', w.client),
		...['event', 'delivery', 'attempt', 'decision', 'pending'].flatMap((t) => ['--' + t, file(t, w[t])])];
	const good = await run(...args(), '--sends', '1', '--drained');
	assert.equal(good.code, 0);
	assert.equal(JSON.parse(good.stdout).violations, 0);
	w.sink[0].verified = false;
	w.sink[0].verify_error = 'No matching signature found';
	const bad = await run(...args());
	assert.equal(bad.code, 1);
	assert.match(bad.stdout, /^unverified: 0190-0: try 1 \/ok: No matching signature found\n\{"violations":1,/);
	assert.equal((await run('--event', 'x')).code, 2);
	assert.equal((await run('--nonsense')).code, 2);
});
