'use strict';
/*
 * check.js: proves the safety rule from what three witnesses wrote: the client (what was acknowledged), the sink (what
 * arrived) and the tables (what the engine believes).
 *
 *   acknowledged and due ⇒ delivered or dead;  delivered ⇒ its event is committed or unknown, never rolled back;
 *   one id ⇒ one body;  nothing unfinished without a due time;  duplicates few, and under the same id;  all signed.
 *
 *   node check.js --sink FILE… [--client FILE…] [--event F] [--delivery F] [--attempt F] [--decision F] [--pending F] [--work F]
 *                 [--sends N] [--drained] [--now TIME] [--max-duplicates N] [--no-overlap] [--strict-tries]
 *                 [--require-verified] [--redeliver] [--limit N]
 *
 * --sends N       every acknowledged event leads to N deliveries (a client row's own "sends" goes before); a rolled-back
 *                 one to none, an unknown one to N when it is in the table and to none when not
 * --drained       the run is over: no delivery may be unfinished, no run due at --now (default: real now) may wait, no event may wait
 *                 for the worker (--work)
 * --max-duplicates N   whole 2xx answers beyond the first of an id, summed (default 0; after kills: in flight × kills)
 * --no-overlap    no id may be under way twice at a time
 * --strict-tries  no id may be seen on the wire more often than delivery.attempts says
 * --require-verified   a message whose signature could not be checked is a violation too
 * --redeliver     deliveries were redelivered by hand: dead may come before the last decision
 *
 * Client rows: {"message_id" or "event_id", "result": "ok" | "failed" | "unknown", "sends": N}; the last row of an id
 * counts, except that one "ok" is enough. Prints a line a violation and a summary; ends with 1 when there were any.
 */
const { readJournal } = require('./journal.js');
const { readTable, parseJsonLine } = require('./tables.js');

const FINAL = new Set(['delivered', 'dead', 'cancelled', 'expired', 'suppressed', 'recorded']);
const ENDED = new Set(['delivered', 'dead', 'cancelled']);

function groupBy(rows, key) {
	const map = new Map();
	for (const row of rows) {
		const k = key(row);
		if (k === null || k === undefined)
			continue;
		const list = map.get(k);
		if (list)
			list.push(row);
		else
			map.set(k, [row]);
	}
	return map;
}

const sha256 = (text) => require('crypto').createHash('sha256').update(text).digest('hex');
const isGood = (row) => row.complete && row.status >= 200 && row.status < 300;
const str = (v) => (v === null || v === undefined || v === '' ? null : String(v));

/** What the sink alone can say. */
function checkWire(wire, opts, bad) {
	let duplicates = 0;
	for (const [id, rows] of wire) {
		const hashes = new Set(rows.map((r) => r.sha256).filter(Boolean));
		if (hashes.size > 1)
			bad('body_changed', id, `${hashes.size} different bodies in ${rows.length} tries`);
		duplicates += Math.max(0, rows.filter(isGood).length - 1);
		for (const r of rows) {
			if (r.verified === false)
				bad('unverified', id, `try ${r.try} ${r.path}: ${r.verify_error}`);
			else if (opts.requireVerified && r.verified !== true && r.sha256)
				bad('unverified', id, `try ${r.try} ${r.path}: no secret known`);
			if (opts.noOverlap && r.overlap > 0)
				bad('overlap', id, `try ${r.try} began while ${r.overlap} others were under way`);
		}
	}
	if (duplicates > opts.maxDuplicates)
		bad('duplicates', '', `${duplicates} answers 2xx beyond the first of an id, allowed ${opts.maxDuplicates}`);
	return duplicates;
}

/** Deliveries against the wire. */
function checkDeliveries(data, wire, opts, bad) {
	const byId = new Map(data.delivery.map((d) => [d.id, d]));
	for (const [id, rows] of wire)
		if (!byId.has(id))
			bad('unknown_on_wire', id, `${rows.length} requests, no delivery row`);
	for (const d of data.delivery) {
		const rows = wire.get(d.id) || [];
		const seen = rows.find((r) => r.sha256);
		if (seen && d.body !== undefined && d.body !== null && sha256(d.body) !== seen.sha256)
			bad('body_differs', d.id, 'the row and the wire disagree');
		if (d.status === 'delivered' && !rows.some((r) => r.status >= 200 && r.status < 300))
			bad('delivered_unseen', d.id, `${rows.length} requests, none answered 2xx`);
		if (opts.strictTries && rows.length > Number(d.attempts))
			bad('try_uncounted', d.id, `${rows.length} requests, attempts says ${d.attempts}`);
		if (ENDED.has(d.status))
			continue;
		if (d.status === 'in_flight' ? str(d.lease) === null : str(d.next_attempt_at) === null)
			bad('no_due_time', d.id, `${d.status} without ${d.status === 'in_flight' ? 'lease' : 'next_attempt_at'}`);
		if (opts.drained)
			bad('stuck', d.id, `${d.status} after ${d.attempts} tries, next ${d.next_attempt_at}, ${d.last_error || ''}`);
	}
	for (const [run, list] of groupBy(data.delivery, (d) => (d.step === undefined ? d.run_id : `${d.run_id}/${d.step}`)))
		if (list.length > 1)
			bad('run_sent_twice', run, list.map((d) => d.id).join(' '));
}

function checkAttempts(data, bad) {
	const byId = new Map(data.delivery.map((d) => [d.id, d]));
	const seen = new Set();
	for (const a of data.attempt) {
		const key = `${a.delivery_id}/${a.attempt}`;
		if (seen.has(key))
			bad('attempt_twice', key, 'two rows');
		seen.add(key);
		const d = byId.get(a.delivery_id);
		if (d && Number(a.attempt) > Number(d.attempts))
			bad('attempt_uncounted', key, `attempts says ${d.attempts}`);
	}
}

/** Each ended delivery has one final decision that says the same; no run ends twice. */
function checkDecisions(data, opts, bad) {
	const final = data.decision.filter((x) => FINAL.has(x.outcome));
	const live = (list) => (opts.redeliver ? list.filter((x, i) => x.outcome !== 'dead' || i === list.length - 1) : list);
	const inOrder = (list) => live([...list].sort((a, b) => (a.decided_at < b.decided_at ? -1
		: a.decided_at > b.decided_at ? 1 : 0)));
	const ofDelivery = groupBy(final, (x) => str(x.delivery_id));
	for (const d of data.delivery || []) {
		const list = inOrder(ofDelivery.get(d.id) || []);
		if (ENDED.has(d.status)) {
			const last = list.length ? list[list.length - 1].outcome : 'none';
			if (list.length !== 1)
				bad('decisions_of_delivery', d.id, `${d.status} with ${list.length} final decisions`);
			else if (last !== d.status && !(d.status === 'cancelled' && (last === 'suppressed' || last === 'expired')))
				bad('decision_differs', d.id, `${d.status}, but the decision says ${last}`);
		} else if (list.length && !(opts.redeliver && list.every((x) => x.outcome === 'dead')))
			bad('decided_too_early', d.id, `${d.status}, but the decision says ${list[0].outcome}`);
	}
	for (const [run, all] of groupBy(final, (x) => str(x.run_id))) {
		const list = inOrder(all);
		if (list.length > 1)
			bad('run_ended_twice', run, list.map((x) => x.outcome).join(', '));
	}
}

function checkPending(data, opts, bad) {
	const now = opts.now ? Date.parse(opts.now) : Date.now();
	for (const p of data.pending) {
		if (str(p.wake_at) === null)
			bad('no_due_time', `run ${p.run_id}`, `${p.state} without wake_at`);
		else if (opts.drained && p.state === 'waiting' && Date.parse(p.wake_at) <= now)
			bad('stuck', `run ${p.run_id}`, `waiting since ${p.wake_at}`);
	}
}

function checkWork(data, opts, bad) {
	for (const w of opts.drained ? data.work : [])
		bad('stuck', `work ${w.event_id}`, `of ${w.profile_id}, not taken`);
}

/** The client's word of each event: ok wins over everything, else the last word. */
function clientWords(rows) {
	const words = new Map();
	for (const r of rows) {
		const key = str(r.message_id) !== null ? `m ${r.message_id}` : `e ${r.event_id}`;
		const old = words.get(key);
		if (!old || old.result !== 'ok')
			words.set(key, r);
	}
	return words;
}

/** The event a message tells of, from its own body: for sinks without table dumps. */
function eventInBody(row) {
	try {
		const event = parseJsonLine(row.body).data.event;
		return { message_id: str(event.message_id), event_id: str(event.event_id) };
	} catch (e) {
		return { message_id: null, event_id: null };
	}
}

function checkClient(data, wire, opts, bad) {
	const words = clientWords(data.client);
	const event = data.event || [];
	const byId = new Map(event.map((e) => [str(e.event_id), e]));
	const firsts = event.filter((e) => str(e.conflict_of) === null);
	const byMessage = groupBy(firsts, (e) => str(e.message_id));
	const ofEvent = data.delivery ? groupBy(data.delivery, (d) => str(d.event_id)) : null;
	const wordOf = (e) => words.get(`m ${e.message_id}`) || words.get(`e ${e.event_id}`);

	for (const [key, r] of words) {
		const rows = data.event ? (key[0] === 'm' ? byMessage.get(key.slice(2)) || [] : [byId.get(key.slice(2))].filter(Boolean))
			: [];
		if (data.event && r.result === 'ok' && rows.length === 0)
			bad('acked_missing', key, 'acknowledged, but not in the event table');
		if (data.event && r.result === 'failed' && rows.length > 0)
			bad('failed_stored', key, 'rolled back, but in the event table');
		if (key[0] === 'm' && rows.length > 1)
			bad('event_twice', key, `${rows.length} rows of one message`);
		const sends = r.sends !== undefined ? Number(r.sends) : opts.sends;
		if (!ofEvent || sends === undefined || r.result === 'failed' || rows.length === 0)
			continue;
		const sent = rows.flatMap((e) => ofEvent.get(str(e.event_id)) || []);
		if (sent.length !== sends)
			bad('sends', key, `${sent.length} deliveries instead of ${sends}`);
		for (const d of sent)
			if (d.status !== 'delivered' && d.status !== 'dead')
				bad('due_unsent', key, `delivery ${d.id} is ${d.status}`);
	}
	if (data.event)
		for (const d of data.delivery || [])
			if (!byId.has(str(d.event_id)))
				bad('orphan_delivery', d.id, `event ${d.event_id} is not in the event table`);
	const events = data.delivery ? new Map(data.delivery.map((d) => [d.id, byId.get(str(d.event_id))])) : new Map();
	for (const [id, rows] of wire) {
		const told = wordOf(events.get(id) || eventInBody(rows[0]));
		if (told && told.result === 'failed')
			bad('failed_sent', id, 'a message about an event that was rolled back');
	}
}

/**
 * data: { sink: rows of journals, client?, event?, delivery?, attempt?, decision?, pending? } (arrays of objects)
 * Returns { violations: [{ rule, item, detail }], counts }.
 */
function check(data, options) {
	const opts = { maxDuplicates: 0, ...options };
	const violations = [];
	const bad = (rule, item, detail) => violations.push({ rule, item: String(item), detail });
	const requests = data.sink.filter((r) => r.kind === 'request' && r.id !== null);
	const wire = groupBy(requests, (r) => r.id);

	const duplicates = checkWire(wire, opts, bad);
	if (data.delivery)
		checkDeliveries(data, wire, opts, bad);
	if (data.delivery && data.attempt)
		checkAttempts(data, bad);
	if (data.decision)
		checkDecisions(data, opts, bad);
	if (data.pending)
		checkPending(data, opts, bad);
	if (data.work)
		checkWork(data, opts, bad);
	if (data.client)
		checkClient(data, wire, opts, bad);
	return { violations, counts: {
		requests: requests.length, ids: wire.size, duplicates,
		delivered_ids: [...wire.values()].filter((rows) => rows.some(isGood)).length,
		verified: requests.filter((r) => r.verified === true).length,
		deliveries: data.delivery ? data.delivery.length : undefined,
		events: data.event ? data.event.length : undefined,
		acked: data.client ? [...clientWords(data.client).values()].filter((r) => r.result === 'ok').length : undefined,
	} };
}

/* command line */

const TABLES = ['event', 'delivery', 'attempt', 'decision', 'pending', 'work'];
const LISTS = ['sink', 'client'];
const VALUES = { sends: Number, now: String, 'max-duplicates': Number, limit: Number };
const SWITCHES = ['drained', 'no-overlap', 'strict-tries', 'require-verified', 'redeliver'];
const camel = (name) => name.replace(/-(.)/g, (m, c) => c.toUpperCase());

function parseArgs(argv) {
	const data = {};
	const opts = {};
	for (let i = 0; i < argv.length; i++) {
		const name = argv[i].slice(2);
		if (!argv[i].startsWith('--') || (!SWITCHES.includes(name) && i + 1 >= argv.length))
			throw new Error(`bad argument ${argv[i]}`);
		if (SWITCHES.includes(name))
			opts[camel(name)] = true;
		else if (name in VALUES)
			opts[camel(name)] = VALUES[name](argv[++i]);
		else if (TABLES.includes(name))
			data[name] = readTable(argv[++i]);
		else if (LISTS.includes(name))
			while (i + 1 < argv.length && !argv[i + 1].startsWith('--'))
				data[name] = (data[name] || []).concat(readJournal(argv[++i], parseJsonLine));
		else
			throw new Error(`bad argument ${argv[i]}`);
	}
	if (!data.sink)
		throw new Error('--sink is missing');
	return { data, opts };
}

function main(argv) {
	let args;
	try {
		args = parseArgs(argv);
	} catch (e) {
		process.stderr.write(`check: ${e.message}\n`);
		return 2;
	}
	const { violations, counts } = check(args.data, args.opts);
	const limit = args.opts.limit || 20;
	for (const [rule, list] of groupBy(violations, (v) => v.rule)) {
		for (const v of list.slice(0, limit))
			process.stdout.write(`${rule}: ${v.item}: ${v.detail}\n`);
		if (list.length > limit)
			process.stdout.write(`${rule}: ${list.length - limit} more\n`);
	}
	process.stdout.write(JSON.stringify({ violations: violations.length, ...counts }) + '\n');
	return violations.length ? 1 : 0;
}

module.exports = { check };
if (require.main === module)
	process.exitCode = main(process.argv.slice(2));
