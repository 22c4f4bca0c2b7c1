'use strict';
/*
 * journal.js: an append-only file of JSON lines that is on disk before the answer goes out.
 *
 * append(row, done): done runs after the row was written and synced. Rows that arrive while a sync is under way share
 * the next one (group commit), so thousands of concurrent requests a second cost few syncs.
 * The last line may be torn when the process was killed; readJournal() leaves it out.
 */
const fs = require('fs');
const { linesOf } = require('./tables.js');

class Journal {
	constructor(file, { sync = true } = {}) {
		this.file = file;
		this.sync = sync;
		this.fd = fs.openSync(file, 'a+', 0o600);
		this.endTornLine();
		this.lines = [];
		this.waiting = [];
		this.busy = false;
		this.failed = null;
	}

	/** A torn last line of an earlier life would swallow our first one. */
	endTornLine() {
		const size = fs.fstatSync(this.fd).size;
		const last = Buffer.alloc(1);
		if (size > 0 && fs.readSync(this.fd, last, 0, 1, size - 1) === 1 && last[0] !== 10)
			fs.writeSync(this.fd, '\n');
	}

	append(row, done) {
		this.lines.push(JSON.stringify(row) + '\n');
		if (done)
			this.waiting.push(done);
		if (!this.busy) {
			this.busy = true;
			setImmediate(() => this.flush());
		}
	}

	flush() {
		if (this.lines.length === 0) {
			this.busy = false;
			return;
		}
		const bytes = Buffer.from(this.lines.join(''));
		const waiting = this.waiting;
		this.lines = [];
		this.waiting = [];
		this.write(bytes, 0, () => {
			for (const done of waiting)
				done();
			this.flush();
		});
	}

	write(bytes, from, done) {
		fs.write(this.fd, bytes, from, bytes.length - from, null, (err, n) => {
			if (err)
				this.die(err);
			else if (from + n < bytes.length)
				this.write(bytes, from + n, done);
			else if (this.sync)
				fs.fdatasync(this.fd, (e) => (e ? this.die(e) : done()));
			else
				done();
		});
	}

	/** Without its journal the receiver proves nothing: stop loudly. */
	die(err) {
		process.stderr.write(`sink: cannot write ${this.file}: ${err.message}\n`);
		process.exit(3);
	}

	/** Writes what is left, for an orderly end. */
	closeSync() {
		if (this.lines.length)
			fs.writeSync(this.fd, this.lines.join(''));
		this.lines = [];
		fs.fdatasyncSync(this.fd);
	}

	truncate() {
		fs.ftruncateSync(this.fd, 0);
	}
}

/** All whole rows of a journal file; lines that are no JSON (torn by a kill) are left out. */
function readJournal(file, parse = JSON.parse) {
	const rows = [];
	for (const line of linesOf(file)) {
		if (line === '')
			continue;
		try {
			rows.push(parse(line));
		} catch (e) {
			continue;
		}
	}
	return rows;
}

module.exports = { Journal, readJournal };
