'use strict';
/*
 * client.js: an app on the other side of a bad network, that says track() until it is heard.
 *
 *   node client.js HOST PORT DATABASE USER MESSAGES CONNECTIONS JOURNAL
 *
 * A message has an id of its own and is repeated under it, on a fresh connection, whenever an answer does not come within 1.5 s or
 * the connection breaks: the client cannot know then whether the commit happened. Every second message is a single statement, the
 * others are a transaction of three. The journal has a JSON line a try: message_id, result "ok" or "unknown". Prints how many tries
 * were made and how many answers never came.
 */
const fs = require('fs');
const { Client } = require('pg');

const [host, port, database, user, messages, connections, journal] = process.argv.slice(2);
const PATIENCE_MS = 1500;
const out = fs.openSync(journal, 'a');
let next = 1;
let tries = 0;
let unknown = 0;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A connection, or null when none can be had now. */
async function connect() {
	const client = new Client({ host, port: Number(port), database, user, connectionTimeoutMillis: PATIENCE_MS, query_timeout: PATIENCE_MS });
	client.on('error', () => {});
	try {
		await client.connect();
		return client;
	} catch (e) {
		leave(client);
		return null;
	}
}

/** Without a farewell, which the network might not carry. */
function leave(client) {
	client.connection.stream.destroy();
}

async function track(client, n) {
	const statement = { text: 'SELECT eventmkt.track($1, $2, message_id => $3)', values: ['u' + n, 'Net', 'm' + n] };
	if (n % 2 === 0) {
		await client.query(statement);
		return;
	}
	await client.query('BEGIN');
	await client.query(statement);
	await client.query('COMMIT');
}

async function worker() {
	let client = null;
	while (next <= Number(messages)) {
		const n = next++;
		for (let heard = false; !heard;) {
			client = client || await connect();
			if (!client) {
				await pause(50);
				continue;
			}
			tries++;
			try {
				await track(client, n);
				heard = true;
			} catch (e) {
				unknown++;
				leave(client);
				client = null;
			}
			fs.writeSync(out, JSON.stringify({ message_id: 'm' + n, result: heard ? 'ok' : 'unknown' }) + '\n');
		}
	}
	if (client)
		leave(client);
}

Promise.all(Array.from({ length: Number(connections) }, worker)).then(() => {
	process.stdout.write(`${tries} ${unknown}\n`);
	process.exit(0);
});
