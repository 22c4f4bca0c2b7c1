'use strict';
/*
 * sink.js: the faulty webhook receiver that every delivery test uses.
 *
 *   node sink.js [--port 0] [--host 127.0.0.1] [--control-port 0] [--journal FILE] [--no-sync] [--no-bodies] [--headers]
 *                [--secret-file FILE] [--tls CERT KEY] [--listen VERB]... [--tls-stall] [--watch-stdin]
 *
 * prints one line {"port":…, "control":…, "listen":{VERB: port}} when ready and runs until SIGTERM. The path of a request
 * says how it is treated (verbs.js), the control port overrides it (control.js), the journal proves it (receiver.js).
 * The secret file is a JSON object {"/path": "whsec_…" or [several]}. --listen opens a port whose every connection is
 * treated by a verb before anything is read; --tls-stall is the one that accepts and never shakes hands; --watch-stdin
 * ends the process when standard input closes, so that it never outlives the test that started it.
 */
const fs = require('fs');
const net = require('net');
const tls = require('tls');
const { Receiver } = require('./receiver.js');
const { startControl } = require('./control.js');
const { isVerb } = require('./verbs.js');

const FLAGS = { 'no-sync': 0, 'no-bodies': 0, headers: 0, 'tls-stall': 0, 'watch-stdin': 0, tls: 2, port: 1, host: 1,
	'control-port': 1, journal: 1, 'secret-file': 1, listen: 1 };

function parseArgs(argv) {
	const opts = { listen: [] };
	for (let i = 0; i < argv.length; i++) {
		const name = argv[i].replace(/^--/, '');
		if (!argv[i].startsWith('--') || !(name in FLAGS) || i + FLAGS[name] >= argv.length) {
			process.stderr.write(`sink: bad argument ${argv[i]}\n`);
			process.exit(2);
		}
		const values = argv.slice(i + 1, i + 1 + FLAGS[name]);
		i += FLAGS[name];
		if (name === 'listen')
			opts.listen.push(values[0]);
		else
			opts[name] = FLAGS[name] === 0 ? true : FLAGS[name] === 1 ? values[0] : values;
	}
	return opts;
}

/** HTTP/2 that greets and then says GOAWAY without an end. */
function goAwayStorm(socket) {
	const settings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
	const goaway = Buffer.from([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
	socket.write(settings);
	const timer = setInterval(() => socket.write(goaway), 5);
	socket.on('close', () => clearInterval(timer));
	socket.on('error', () => socket.destroy());
	socket.resume();
}

function secureContext(spec) {
	return tls.createSecureContext({
		cert: fs.readFileSync(spec.cert), key: fs.readFileSync(spec.key),
		minVersion: spec.minVersion, maxVersion: spec.maxVersion,
		ciphers: spec.ciphers || (spec.maxVersion && spec.maxVersion < 'TLSv1.2' ? 'DEFAULT:@SECLEVEL=0' : undefined),
	});
}

/** spec: { verb, tls: { cert, key, minVersion, maxVersion, ciphers }, host, port }; resolves with the server. */
function listen(receiver, spec) {
	const verb = spec.verb === 'tls-stall' ? 'silent' : spec.verb || null;
	if (verb && verb !== 'h2-goaway' && !isVerb(verb))
		return Promise.reject(new Error(`no such verb: ${verb}`));
	const context = spec.tls ? secureContext(spec.tls) : null;
	const alpn = spec.verb === 'h2-goaway' ? ['h2'] : ['http/1.1'];
	const server = net.createServer({ noDelay: true, pauseOnConnect: verb !== null && !context }, (bare) => {
		const port = server.address() ? server.address().port : 0;
		if (!context) {
			receiver.onConnection(bare, bare, verb, port);
			return;
		}
		const socket = new tls.TLSSocket(bare, { isServer: true, secureContext: context, ALPNProtocols: alpn });
		if (spec.verb === 'h2-goaway')
			goAwayStorm(socket);
		else
			receiver.onConnection(socket, bare, verb, port);
	});
	return new Promise((resolve, reject) => {
		server.on('error', reject);
		server.listen({ port: Number(spec.port || 0), host: spec.host || '127.0.0.1', backlog: 4096 }, () =>
			resolve(server));
	});
}

async function main() {
	const opts = parseArgs(process.argv.slice(2));
	const receiver = new Receiver({ journal: opts.journal || null, sync: !opts['no-sync'], bodies: !opts['no-bodies'],
		headers: !!opts.headers });
	if (opts['secret-file'])
		receiver.verifier.load(JSON.parse(fs.readFileSync(opts['secret-file'], 'utf8')));
	const quit = () => {
		if (receiver.journal)
			receiver.journal.closeSync();
		process.exit(0);
	};
	process.on('SIGTERM', quit);
	process.on('SIGINT', quit);
	if (opts['watch-stdin'])
		process.stdin.on('end', quit).on('error', quit).resume();
	const host = opts.host || '127.0.0.1';
	const main = await listen(receiver, { port: opts.port, host,
		tls: opts.tls ? { cert: opts.tls[0], key: opts.tls[1] } : null });
	const ports = {};
	for (const verb of opts.listen.concat(opts['tls-stall'] ? ['tls-stall'] : []))
		ports[verb] = (await listen(receiver, { verb, host })).address().port;
	const control = await startControl(receiver, {
		listen: async (spec) => (await listen(receiver, { host, ...spec })).address().port, quit,
	}, Number(opts['control-port'] || 0), '127.0.0.1');
	process.stdout.write(JSON.stringify({ port: main.address().port, control: control.address().port, listen: ports })
		+ '\n');
}

main().catch((e) => {
	process.stderr.write(`sink: ${e.message}\n`);
	process.exit(1);
});
