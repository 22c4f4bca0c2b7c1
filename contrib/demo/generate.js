'use strict';
/*
 * generate.js: writes an invented shop's afternoon as input for psql. Node only, no packages.
 *
 *   node generate.js --out DIR [--seed 7] [--shoppers 300] [--start '2024-05-14T12:00:00Z'] [--slice 300]
 *
 *   DIR/morning.csv    for \copy eventmkt_data.inbox (user_id, anonymous_id, event, properties, occurred_at, message_id)
 *                      FROM 'morning.csv' WITH (FORMAT csv, HEADER): four hours of browsing before the start
 *   DIR/shop.sql       the shop's own table (orders), the traits of known customers, and the procedure shop.settle(), which
 *                      waits until the worker has done all that is due
 *   DIR/afternoon.sql  six hours from the start, in slices: advance_clock() to the end of the slice, settle, then what happened
 *                      in it: track(), identify(), orders that commit together with their event, orders that roll back,
 *                      and page views in COPY batches
 *   DIR/later.sql      the next days, to the minute: parcels are shipped, some come back for their carts
 *   DIR/facts.json     what was put in: { seed, start, end } and the facts of shop.js
 *
 * The start is the clock of the database, rounded up to a full minute: --start "$(psql -Atc 'SELECT eventmkt.clock()')";
 * without it, that of this machine. Run the files in the order shop, morning, afternoon, later (rules may be made before or
 * after the morning); the scripts are quiet and stop at the first error.
 */
const fs = require('fs');
const path = require('path');
const { makeDay, MINUTE, HOUR } = require('./shop.js');

const COLUMNS = '(user_id, anonymous_id, event, properties, occurred_at, message_id)';
const HEAD = '\\set ON_ERROR_STOP on\n\\set QUIET on\n\\o /dev/null\nSET client_min_messages = warning;\n';
const FOOT = '\\o\n';

const stamp = (ms) => new Date(ms).toISOString();
const text = (v) => (v === null ? 'NULL' : "'" + v.replace(/'/g, "''") + "'");
const json = (v) => text(JSON.stringify(v));

function csvField(v) {
	if (v === null)
		return '';
	return /^$|[",\r\n\\]/.test(v) ? '"' + v.replace(/"/g, '""') + '"' : v;
}

function csvLine(a) {
	return [a.user_id, a.anonymous_id, a.event, JSON.stringify(a.properties), stamp(a.occurred_at), a.message_id]
		.map(csvField).join(',') + '\n';
}

function trackCall(a) {
	return `SELECT eventmkt.track(${text(a.user_id)}, ${text(a.event)}, ${json(a.properties)}, '${stamp(a.occurred_at)}', `
		+ `${text(a.message_id)}${a.anonymous_id ? ', ' + text(a.anonymous_id) : ''});\n`;
}

function statement(a) {
	if (a.kind === 'identify')
		return `SELECT eventmkt.identify(${text(a.user_id)}, ${json(a.traits)}${a.anonymous_id ? ', ' + text(a.anonymous_id) : ''});\n`;
	if (a.kind === 'order')
		return `BEGIN;\nINSERT INTO shop.orders VALUES (${text(a.order_id)}, ${text(a.user_id)}, ${a.total}, '${stamp(a.at)}');\n`
			+ trackCall(a) + (a.refused ? 'ROLLBACK;	-- the card was declined\n' : 'COMMIT;\n');
	return trackCall(a);
}

/** Page views that a collector gathers go in one COPY a slice, the rest one by one. */
function sliceText(actions) {
	const batch = actions.filter((a) => a.via === 'copy' && a.kind === 'track');
	const single = actions.filter((a) => !(a.via === 'copy' && a.kind === 'track'));
	let out = '';
	if (batch.length)
		out += `COPY eventmkt_data.inbox ${COLUMNS} FROM STDIN WITH (FORMAT csv);\n${batch.map(csvLine).join('')}\\.\n`;
	return out + single.map(statement).join('');
}

function advanceTo(ms) {
	return `SELECT eventmkt.advance_clock(gap) FROM (SELECT timestamptz '${stamp(ms)}' - eventmkt.clock() AS gap) g `
		+ "WHERE gap > interval '0';\nCALL shop.settle();\n";
}

/**
 * From `from` to `to`: the clock goes to the end of a slice of `size` ms, the worker does what fell due, then come the
 * slice's actions. Where nothing happens the clock moves in steps of `stride`, so that nothing is decided much too late.
 */
function script(actions, from, to, size, stride) {
	let out = HEAD;
	let i = 0;
	for (let now = from; now < to;) {
		let end = Math.min(to, now + stride);
		if (i < actions.length && actions[i].at < end)
			end = Math.min(end, from + (Math.floor((actions[i].at - from) / size) + 1) * size);
		const slice = [];
		while (i < actions.length && actions[i].at < end)
			slice.push(actions[i++]);
		out += `-- ${stamp(end)}\n` + advanceTo(end) + (slice.length ? sliceText(slice) + 'CALL shop.settle();\n' : '');
		now = end;
	}
	return out + FOOT;
}

const SETTLE = `-- returns when the worker has done all that is due by the clock
CREATE OR REPLACE PROCEDURE shop.settle(patience interval = '20 seconds') LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + patience;
BEGIN
	WHILE EXISTS (SELECT FROM eventmkt_data.work)
		OR EXISTS (SELECT FROM eventmkt_data.pending_trigger WHERE wake_at <= eventmkt.clock())
		OR EXISTS (SELECT FROM eventmkt_data.delivery WHERE status = 'in_flight'
			OR status IN ('queued', 'retrying') AND next_attempt_at <= eventmkt.clock())
	LOOP
		IF clock_timestamp() > until THEN
			RAISE EXCEPTION 'the worker did not keep up within %', patience
				USING HINT = 'SELECT * FROM eventmkt.health() says what is wrong.';
		END IF;
		PERFORM pg_sleep(0.002);
	END LOOP;
END
$$;
`;

function shopScript(actions) {
	return HEAD + 'CREATE SCHEMA IF NOT EXISTS shop;\n'
		+ 'CREATE TABLE IF NOT EXISTS shop.orders (order_id text PRIMARY KEY, user_id text NOT NULL, total numeric NOT NULL,\n'
		+ '\tplaced_at timestamptz NOT NULL);\n' + SETTLE + actions.map(statement).join('') + FOOT;
}

function parseArgs(argv) {
	const opts = { seed: '7', shoppers: '300', slice: '300' };
	for (let i = 0; i < argv.length; i += 2) {
		const name = argv[i].replace(/^--/, '');
		if (!argv[i].startsWith('--') || !['out', 'seed', 'shoppers', 'start', 'slice'].includes(name) || i + 1 >= argv.length)
			throw new Error(`bad argument ${argv[i]}`);
		opts[name] = argv[i + 1];
	}
	if (!opts.out)
		throw new Error('--out is missing');
	let start = opts.start ? parseTime(opts.start) : Date.now();
	if (Number.isNaN(start))
		throw new Error(`bad time ${opts.start}`);
	start = Math.ceil(start / MINUTE) * MINUTE;
	return { out: opts.out, seed: Number(opts.seed), shoppers: Number(opts.shoppers), slice: Number(opts.slice) * 1000, start };
}

/** Takes what psql prints too: 2024-05-14 12:00:00.123456+00 */
function parseTime(s) {
	return Date.parse(s.trim().replace(' ', 'T').replace(/(\.\d{3})\d+/, '$1').replace(/([+-]\d\d)$/, '$1:00'));
}

/** All files as { name: content }. */
function makeFiles({ seed, shoppers, start, slice }) {
	const { actions, facts } = makeDay({ seed, shoppers, start });
	const evening = start + 6 * HOUR;
	const before = actions.filter((a) => a.at < start);
	const last = actions.length ? actions[actions.length - 1].at : start;
	const end = Math.max(start + 72 * HOUR, evening + Math.ceil((last - evening + 1) / HOUR) * HOUR);
	return {
		'shop.sql': shopScript(before.filter((a) => a.kind === 'identify')),
		'morning.csv': COLUMNS.slice(1, -1).replace(/ /g, '') + '\n' + before.filter((a) => a.kind === 'track').map(csvLine).join(''),
		'afternoon.sql': script(actions.filter((a) => a.at >= start && a.at < evening), start, evening, slice, slice),
		'later.sql': script(actions.filter((a) => a.at >= evening), evening, end, MINUTE, HOUR),
		'facts.json': JSON.stringify({ seed, start: stamp(start), end: stamp(end), ...facts }, null, '\t') + '\n',
	};
}

function main() {
	let opts;
	try {
		opts = parseArgs(process.argv.slice(2));
	} catch (e) {
		process.stderr.write(`generate: ${e.message}\n`);
		process.exit(2);
	}
	fs.mkdirSync(opts.out, { recursive: true });
	for (const [name, content] of Object.entries(makeFiles(opts)))
		fs.writeFileSync(path.join(opts.out, name), content);
}

module.exports = { makeFiles, parseTime };
if (require.main === module)
	main();
