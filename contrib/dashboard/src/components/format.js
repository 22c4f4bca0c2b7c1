// format.js: how numbers and times are written, the same on every page
const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const short = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});
const money = new Intl.NumberFormat("en", {minimumFractionDigits: 2, maximumFractionDigits: 2});
const dates = new Intl.DateTimeFormat("en", {day: "numeric", month: "short", year: "numeric", timeZone: "UTC"});

export const count = (n) => (n == null ? "–" : whole.format(n));
export const compact = (n) => short.format(n);
export const amount = (n) => (n == null ? "–" : money.format(n));
export const percent = (x, digits = 1) => (x == null ? "–" : `${(x * 100).toFixed(digits)} %`);
export const day = (d) => dates.format(asDate(d));
// a day of the database ("2026-11-22") as midnight UTC, so that a browser's own time zone never moves it
export const asDate = (d) => (d instanceof Date ? d : new Date(`${d}T00:00:00Z`));

// 0.25 → 250 ms, 90 → 1.5 min, 5400 → 1.5 h
export function seconds(s) {
  if (s == null) return "–";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]])
    if (s >= size) return `${trim(s / size)} ${unit}`;
  return s === 0 ? "0 s" : `${trim(s * 1000)} ms`;
}

const trim = (x) => (x >= 10 ? whole.format(x) : x.toFixed(1).replace(/\.0$/, ""));

export const sum = (rows, of) => rows.reduce((total, row) => total + (of(row) ?? 0), 0);

// Every whole day from the first one with a row on, so that a day without rows shows as zero. Today is not over, so a chart by
// day ends yesterday; the figures count it.
export function wholeDays(about, rows) {
  const days = [];
  const first = rows.reduce((min, row) => (row.day < min ? row.day : min), about.last_day);
  for (let d = asDate(first); d < asDate(about.last_day); d = new Date(+d + 864e5)) days.push(d.toISOString().slice(0, 10));
  return days;
}
