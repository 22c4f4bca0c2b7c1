// duck.js FILE: a DuckDB of two threads. Reads one JSON string a line, a statement, and answers with one line of JSON:
// {"ms": time, "rows": [[…]]}. The first statement makes and fills the table; the database is a file beside the data.
const { DuckDBInstance } = require(process.env.PEERS + '/node_modules/@duckdb/node-api');
const readline = require('readline');
(async () => {
	const db = await DuckDBInstance.create(process.argv[2], { threads: '2' });
	const c = await db.connect();
	for await (const line of readline.createInterface({ input: process.stdin })) {
		const t = process.hrtime.bigint();
		try {
			const r = await c.runAndReadAll(JSON.parse(line));
			const ms = Number(process.hrtime.bigint() - t) / 1e6;
			console.log(JSON.stringify({ ms, rows: r.getRowsJson() }));
		} catch (e) {
			console.log(JSON.stringify({ error: String(e.message || e) }));
		}
	}
})();
