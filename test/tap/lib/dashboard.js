// dashboard.js DIST BROWSER [SCREENSHOT-FOLDER]: serves a built dashboard on 127.0.0.1, opens every page in a headless browser and
// prints one JSON object: for each page its title, its figures (data-figure → text), the number of drawn charts, and what went
// wrong: console errors, failed or foreign requests.
const fs = require('fs');
const http = require('http');
const path = require('path');
const { chromium } = require('playwright-core');

const [dist, executablePath, shots] = process.argv.slice(2);
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json' };

const server = http.createServer((req, res) => {
  let file = path.join(dist, path.normalize(decodeURIComponent(req.url.split('?')[0])));
  if (file.endsWith(path.sep)) file += 'index.html';
  if (!fs.existsSync(file)) file += '.html';
  if (!fs.existsSync(file)) return res.writeHead(404).end();
  res.writeHead(200, { 'content-type': `${types[path.extname(file)] ?? 'application/octet-stream'}; charset=utf-8` });
  fs.createReadStream(file).pipe(res);
});

async function look(browser, origin, name) {
  const wrong = [];
  const page = await browser.newPage({ viewport: { width: 1360, height: 900 }, timezoneId: 'Pacific/Kiritimati' });
  page.on('console', (m) => m.type() === 'error' && wrong.push(`console: ${m.text()}`));
  page.on('pageerror', (e) => wrong.push(`page: ${e.message}`));
  page.on('requestfailed', (r) => wrong.push(`failed: ${r.url()}`));
  page.on('response', (r) => r.status() >= 400 && wrong.push(`${r.status()}: ${r.url()}`));
  page.on('request', (r) => r.url().startsWith(origin) || r.url().startsWith('data:') || wrong.push(`foreign: ${r.url()}`));
  await page.goto(`${origin}/${name}`, { waitUntil: 'networkidle' });
  await page.waitForSelector('.card');
  await page.waitForFunction(() => !document.querySelector('.observablehq--running, observablehq-loading'));
  const found = await page.evaluate(() => ({
    title: document.title,
    heading: document.querySelector('h1')?.textContent,
    figures: Object.fromEntries([...document.querySelectorAll('[data-figure]')].map((e) => [e.dataset.figure, e.textContent.trim()])),
    charts: document.querySelectorAll('svg[class^=plot]').length,
    errors: [...document.querySelectorAll('.observablehq--error')].map((e) => e.textContent),
    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
  }));
  if (shots) await page.screenshot({ path: path.join(shots, `${name || 'index'}.png`), fullPage: true });
  await page.close();
  return { ...found, wrong: [...wrong, ...found.errors] };
}

server.listen(0, '127.0.0.1', async () => {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const origin = `http://127.0.0.1:${server.address().port}`;
    const pages = ['', 'rules', 'people', 'delivery'].map(async (name) => [name || 'index', await look(browser, origin, name)]);
    console.log(JSON.stringify(Object.fromEntries(await Promise.all(pages))));
  } finally {
    await browser.close();
    server.close();
  }
});
