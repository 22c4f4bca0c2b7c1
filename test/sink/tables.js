'use strict';
/*
 * tables.js: reads what psql wrote of a table: JSON lines (SELECT to_jsonb(t) …, -qAt) or CSV with a header (--csv).
 * Ids are 64 bits wide and would lose digits as numbers, so they are kept as strings.
 */
const fs = require('fs');

const WIDE = /"(event_id|run_id|decision_id|lease|conflict_of)":(\s*)(-?\d+)/g;

function parseJsonLine(line) {
	return JSON.parse(line.replace(WIDE, '"$1":$2"$3"'));
}

/** CSV as PostgreSQL writes it; an unquoted empty field is NULL. */
function parseCsv(text) {
	const rows = [];
	let row = [];
	let at = 0;
	while (at < text.length) {
		let field;
		if (text[at] === '"') {
			let end = at + 1;
			for (;;) {
				end = text.indexOf('"', end);
				if (end < 0)
					throw new Error('CSV ends within quotes');
				if (text[end + 1] !== '"')
					break;
				end += 2;
			}
			field = text.slice(at + 1, end).replace(/""/g, '"');
			at = end + 1;
		} else {
			let end = at;
			while (end < text.length && text[end] !== ',' && text[end] !== '\n')
				end++;
			field = end === at ? null : text.slice(at, end).replace(/\r$/, '');
			at = end;
		}
		row.push(field);
		const next = text[at++];
		if (next === '\r')
			at++;
		if (next !== ',') {
			rows.push(row);
			row = [];
		}
	}
	const names = rows.shift() || [];
	return rows.map((r) => Object.fromEntries(names.map((n, i) => [n, r[i] === undefined ? null : r[i]])));
}

/** The lines of a file, which may be longer than a string can be. */
function* linesOf(file, piece = 1 << 24) {
	const fd = fs.openSync(file, 'r');
	const buffer = Buffer.alloc(piece);
	let begun = [];
	try {
		for (let n; (n = fs.readSync(fd, buffer, 0, piece, null)) > 0;) {
			let at = 0;
			for (let end; (end = buffer.indexOf(10, at)) >= 0 && end < n; at = end + 1) {
				yield Buffer.concat([...begun, buffer.subarray(at, end)]).toString();
				begun = [];
			}
			begun.push(Buffer.from(buffer.subarray(at, n)));
		}
	} finally {
		fs.closeSync(fd);
	}
	const last = Buffer.concat(begun).toString();
	if (last !== '')
		yield last;
}

function readTable(file) {
	const rows = [];
	for (const line of linesOf(file)) {
		if (rows.length === 0 && line.trim() !== '' && !/^\s*\{/.test(line))
			return parseCsv(fs.readFileSync(file, 'utf8'));
		if (line.trim() !== '')
			rows.push(parseJsonLine(line));
	}
	return rows;
}

module.exports = { readTable, linesOf, parseCsv, parseJsonLine };
