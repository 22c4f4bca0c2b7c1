#!/usr/bin/env node
/*
 * collector.js: takes what Segment's client libraries post and hands it to eventmkt.ingest(), one statement a request.
 *
 *   PGHOST=… PGDATABASE=… PGUSER=… WRITE_KEY=… node collector.js [--port 8088] [--host 127.0.0.1]
 *
 * POST /v1/batch, /v1/import, and /v1/track, /identify, /page, /screen, /group, /alias (the path says the type where the body
 * does not); GET /health. See README.md for the settings. The answer decides what a client does: 200 stored (committed), 400
 * never send this again, 401 wrong write key, 413 too large, 503 try again. A client that tries again is safe: a messageId
 * is stored once. The role needs eventmkt.grant_access(role, 'tracker') and nothing else.
 *
 * Nothing of a message is ever logged: a line has the time, the status and the SQLSTATE.
 */
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');
const zlib = require('node:zlib');
const { parseArgs } = require('node:util');

const { values: args } = parseArgs({
	options: {
		port: { type: 'string', default: process.env.PORT ?? '8088' },
		host: { type: 'string', default: process.env.HOST ?? '127.0.0.1' },
		'watch-stdin': { type: 'boolean', default: false },		// end when standard input closes
	},
});
const maxBytes = Number(process.env.MAX_BYTES ?? 4 * 1024 * 1024);		// of a body, also once it is unpacked
const timeoutMs = Number(process.env.TIMEOUT_MS ?? 10000);
const writeKeys = (process.env.WRITE_KEY ?? '').split(',').filter(Boolean).map((k) => digest(k));
const origin = process.env.CORS_ORIGIN ?? '';
const types = new Set(['track', 'identify', 'page', 'screen', 'group', 'alias']);

const { Pool } = require('pg');
const pool = new Pool({
	max: Number(process.env.CONNECTIONS ?? 8),
	connectionTimeoutMillis: timeoutMs,
	idleTimeoutMillis: 30000,
	application_name: 'eventmkt collector',
	statement_timeout: timeoutMs,
});
pool.on('error', (e) => log('lost a connection', e.code));		// the pool makes a new one

class Refusal extends Error {
	constructor(status, message) {
		super(message);
		this.status = status;
	}
}

function log(what, code) {
	console.error(`${new Date().toISOString()} ${what}${code ? ` ${code}` : ''}`);
}

function digest(text) {
	return crypto.createHash('sha256').update(text).digest();
}

/* The key comes as the user of basic authentication or as the body's writeKey. Compared in constant time. */
function checkKey(req, body) {
	if (writeKeys.length === 0) return;
	const basic = /^Basic\s+([A-Za-z0-9+/=]+)$/i.exec(req.headers.authorization ?? '');
	const given = basic ? Buffer.from(basic[1], 'base64').toString().replace(/:.*/s, '') : body.writeKey;
	const hash = digest(typeof given === 'string' ? given : '');
	let found = false;
	for (const key of writeKeys) found = crypto.timingSafeEqual(key, hash) || found;
	if (!found) throw new Refusal(401, 'wrong write key');
}

async function readBody(req) {
	const encoding = req.headers['content-encoding'] ?? 'identity';
	if (!['identity', 'gzip'].includes(encoding)) throw new Refusal(415, 'bodies are plain or gzip');
	const chunks = [];
	let size = 0;
	for await (const chunk of req) {
		size += chunk.length;
		if (size > maxBytes) throw new Refusal(413, `a body has at most ${maxBytes} bytes`);
		chunks.push(chunk);
	}
	let bytes = Buffer.concat(chunks);
	if (encoding === 'gzip') {
		try {
			bytes = zlib.gunzipSync(bytes, { maxOutputLength: maxBytes });
		} catch (e) {
			throw e.code === 'ERR_BUFFER_TOO_LARGE' ? new Refusal(413, `a body has at most ${maxBytes} bytes`)
				: new Refusal(400, 'the body is not gzip');
		}
	}
	try {
		return JSON.parse(bytes.toString('utf8'));
	} catch {
		throw new Refusal(400, 'the body is not JSON');
	}
}

/* What is wrong with the message is the client's; anything else may work later. */
function refusalOf(error) {
	const state = typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code) ? error.code : '';
	if (state.startsWith('22') || state.startsWith('54'))
		return new Refusal(400, error.detail ? `${error.message}; ${error.detail}` : error.message);
	log('could not store a message', error.code);
	return new Refusal(503, 'try again later');
}

async function ingest(req, type) {
	const body = await readBody(req);
	if (typeof body !== 'object' || body === null || Array.isArray(body)) throw new Refusal(400, 'the body is not an object');
	checkKey(req, body);
	delete body.writeKey;
	if (type && body.type === undefined) body.type = type;
	try {
		const result = await pool.query({
			name: 'ingest', text: 'SELECT eventmkt.ingest($1::jsonb)::text AS id', values: [JSON.stringify(body)],
		});
		return { success: true, id: result.rows[0].id };
	} catch (error) {
		throw refusalOf(error);
	}
}

async function answer(req) {
	const path = new URL(req.url, 'http://localhost').pathname;
	if (req.method === 'OPTIONS' && origin) return {};
	if (req.method === 'GET' && path === '/health') {
		await pool.query('SELECT 1').catch((error) => { throw refusalOf(error); });
		return { success: true };
	}
	const name = /^\/v1\/(\w+)\/?$/.exec(path)?.[1];
	if (name !== 'batch' && name !== 'import' && !types.has(name)) throw new Refusal(404, 'no such path');
	if (req.method !== 'POST') throw new Refusal(405, 'messages are posted');
	return ingest(req, types.has(name) ? name : undefined);
}

async function handle(req, res) {
	let status = 200;
	let body;
	try {
		body = await answer(req);
	} catch (error) {
		status = error.status ?? 500;
		if (status === 500) log('unexpected', error.code ?? error.name);
		body = { success: false, error: status === 500 ? 'internal error' : error.message };
	}
	const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' };
	if (origin) {
		Object.assign(headers, { 'access-control-allow-origin': origin, 'access-control-allow-headers': 'content-type, authorization',
			'access-control-allow-methods': 'POST' });
	}
	if (status === 401) headers['www-authenticate'] = 'Basic realm="write key"';
	if (status === 413 || status === 415) headers.connection = 'close';		// the rest of the body is not read
	if (!res.destroyed) res.writeHead(status, headers).end(JSON.stringify(body));
}

const server = http.createServer({ requestTimeout: timeoutMs, headersTimeout: timeoutMs }, handle);

let ending = false;
function end() {
	if (ending) return;
	ending = true;
	server.close(() => pool.end().then(() => process.exit(0), () => process.exit(0)));
	server.closeIdleConnections();
	setTimeout(() => process.exit(0), timeoutMs).unref();
}
process.on('SIGTERM', end);
process.on('SIGINT', end);
if (args['watch-stdin']) process.stdin.on('end', end).resume();

if (writeKeys.length === 0 && !['127.0.0.1', '::1', 'localhost'].includes(args.host)) {
	console.error('WRITE_KEY must be set where others than this machine can connect');
	process.exit(2);
}
server.listen(Number(args.port), args.host, () => console.log(JSON.stringify({ port: server.address().port })));
