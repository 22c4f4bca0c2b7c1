// report.json.js: everything the pages show, in one JSON object, read by psql in one transaction: so all figures are of one
// moment. The connection is that of libpq's variables; the role needs eventmkt.grant_access(…, 'analyst') and no more.
//
// Each section is a line "@name" and then one JSON value a line.
import {spawnSync} from "node:child_process";

const days = Number(process.env.DASHBOARD_DAYS ?? 90);
if (!Number.isInteger(days) || days < 1) throw new Error("DASHBOARD_DAYS must be a number of days");

const since = `(SELECT eventmkt.clock())::date - ${days - 1}`;
const list = (name, query) => `\\echo @${name}\nSELECT to_json(t) FROM (${query}) t;\n`;
// a query made by a query: one line of JSON for each row of the catalogue
const each = (name, query) => `\\echo @${name}\n${query} \\gexec\n`;

const script = `
\\set ON_ERROR_STOP on
SET statement_timeout = '10min';
SET IntervalStyle = iso_8601;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
` +
  list("about", `SELECT current_database() AS database, eventmkt.clock() AS at, current_setting('TimeZone') AS zone,
    ${days} AS days, (${since}) AS first_day, (eventmkt.clock())::date AS last_day`) +
  list("events", `SELECT day, event, events, profiles FROM eventmkt_bi.events_by_day WHERE day >= ${since} ORDER BY day, event`) +
  list("decisions", `SELECT day, rule, outcome, reason, decisions, profiles FROM eventmkt_bi.decisions_by_rule
    WHERE day >= ${since} ORDER BY day, rule, outcome, reason`) +
  list("kinds", `SELECT * FROM eventmkt_bi.triggered_and_scheduled WHERE day >= ${since} ORDER BY day, kind`) +
  list("rules", `SELECT rule, enabled, disabled_reason, on_event, after, send_to, live_runs, open_deliveries, delivered, dead, cancelled,
    expired, suppressed, recorded, last_decided_at FROM eventmkt_bi.rules ORDER BY rule`) +
  list("conversions", `SELECT rule, goal, sends, profiles, conversions, converted_profiles, conversion_rate, credited_events, revenue,
    extract(epoch FROM median_time) AS median_seconds FROM eventmkt_bi.conversions ORDER BY goal, rule`) +
  list("cohorts", `SELECT cohort, week, profiles, active, retention FROM eventmkt_bi.cohorts
    WHERE cohort >= date_trunc('week', ${since})::date - 77 AND week < 12 ORDER BY cohort, week`) +
  list("sizes", `SELECT DISTINCT ON (segment, at::date) segment, at::date AS day, members FROM eventmkt_bi.membership_sizes
    WHERE at::date >= ${since} ORDER BY segment, at::date, at DESC`) +
  list("latency", `SELECT * FROM eventmkt_bi.latency ORDER BY period, rule, measure`) +
  list("queue", `SELECT what, n, oldest, extract(epoch FROM age) AS age_seconds FROM eventmkt_bi.queue`) +
  list("endpoints", `SELECT * FROM eventmkt_bi.endpoints ORDER BY endpoint`) +
  each("funnels", `SELECT format('SELECT json_build_object(''name'', %L::text, ''comment'', %L::text, ''steps'', json_agg(json_build_object(
    ''step'', step, ''event'', event, ''profiles'', profiles, ''conversion'', conversion, ''step_conversion'', step_conversion,
    ''median_seconds'', extract(epoch FROM median_time)) ORDER BY step)) FROM eventmkt_bi.%I', name, comment, view) FROM eventmkt_bi.funnels`) +
  `\\set ON_ERROR_STOP off
\\set ON_ERROR_ROLLBACK on
` +
  // the query of a segment may be anybody's: one that fails leaves its size out
  each("segments", `SELECT format('SELECT json_build_object(''name'', %L::text, ''kind'', %L::text, ''comment'', %L::text, ''profiles'',
    (SELECT count(*) FROM eventmkt_bi.%I))', name, kind, comment, view) FROM eventmkt_bi.segments ORDER BY name`) +
  `COMMIT;
`;

const psql = spawnSync("psql", ["-XqAt", "-f", "-"], {input: script, encoding: "utf8", maxBuffer: 1 << 30});
if (psql.error) throw psql.error;
if (psql.stderr) process.stderr.write(psql.stderr);
if (psql.status !== 0) throw new Error(`psql ended with status ${psql.status}`);

const report = {};
let section;
for (const line of psql.stdout.split("\n")) {
  if (line.startsWith("@")) section = report[line.slice(1)] = [];
  else if (line) section.push(JSON.parse(line));
}
report.about = report.about[0];
process.stdout.write(JSON.stringify(report));
