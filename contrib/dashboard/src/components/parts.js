// parts.js: the parts that pages are made of: cards with a figure, cards with a chart, tables
import {html} from "htl";
import {resize} from "observablehq:stdlib";

// a figure; data-figure names it for whoever checks it
export function figure(label, value, {id, note, tone, spark} = {}) {
  return html`<div class=${`card figure ${tone ?? ""}`}>
    <h2>${label}</h2>
    <span class="value" data-figure=${id}>${value}</span>
    ${note ? html`<span class="note-line">${note}</span>` : ""}
    ${spark ?? ""}
  </div>`;
}

export const figures = (...cards) => html`<div class="grid grid-cols-4">${cards}</div>`;

// a chart in a card, drawn anew when the card changes its width; `draw` takes a width
export function chart(title, hint, draw, {wide = false} = {}) {
  return html`<div class=${`card chart ${wide ? "grid-colspan-2" : ""}`}>
    <h2>${title}</h2>
    ${hint ? html`<h3>${hint}</h3>` : ""}
    ${resize((width) => draw(Math.max(width, 240)))}
  </div>`;
}

export const empty = (what) => html`<p class="empty">${what}</p>`;

// columns: [{title, of(row), number?, bar?(row) → 0..1, id?(row)}]
export function table(title, hint, rows, columns, {wide = false, none = "Nothing yet."} = {}) {
  const cell = (row, c) => {
    const share = c.bar?.(row);
    const value = html`<span data-figure=${c.id?.(row) ?? null}>${c.of(row)}</span>`;
    return html`<td class=${c.number ? "number" : ""}>${share == null ? value : html`<span class="with-bar">
      <span class="track"><span style=${`width: ${Math.round(Math.min(share, 1) * 100)}%`}></span></span>${value}</span>`}</td>`;
  };
  return html`<div class=${`card ${wide ? "grid-colspan-2" : ""}`}>
    <h2>${title}</h2>
    ${hint ? html`<h3>${hint}</h3>` : ""}
    ${rows.length === 0 ? empty(none) : html`<div class="scroll"><table class="figures">
      <thead><tr>${columns.map((c) => html`<th class=${c.number ? "number" : ""}>${c.title}</th>`)}</tr></thead>
      <tbody>${rows.map((row) => html`<tr>${columns.map((c) => cell(row, c))}</tr>`)}</tbody>
    </table></div>`}
  </div>`;
}

// the line under the title of a page
export function asOf(about) {
  const at = about.at.slice(0, 16).replace("T", " ");
  return html`<p class="as-of">Database <b>${about.database}</b>, as of ${at} (${about.zone}), the last ${about.days} days.</p>`;
}
