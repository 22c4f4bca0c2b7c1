/*
 * segment_client.js HOST WRITE_KEY: posts one message of each kind with Segment's own client; prints a line a failed message.
 * Its first request is sent twice by a fetch that loses the first answer, as a network does.
 */
'use strict';
const { Analytics } = require('@segment/analytics-node');

const [host, writeKey] = process.argv.slice(2);
let lost = false;

class Lossy {
	async makeRequest({ url, method, headers, body }) {
		const response = await fetch(url, { method, headers, body });
		if (lost) return response;
		lost = true;
		await response.text();
		throw new Error('the answer was lost');
	}
}

async function main() {
	const analytics = new Analytics({ writeKey, host, flushAt: 5, flushInterval: 50, maxRetries: 3, httpClient: new Lossy() });
	analytics.on('error', (e) => console.log(`error: ${e.code} ${e.reason?.message ?? e.reason ?? ''}`));

	analytics.track({ anonymousId: 'visitor-1', event: 'Product Viewed', properties: { sku: 'A1', price: 59.9, note: 'Größe "M" 👕' } });
	analytics.page({ anonymousId: 'visitor-1', name: 'Home', category: 'Shop', properties: { url: '/' } });
	analytics.screen({ anonymousId: 'visitor-1', name: 'Cart' });
	analytics.identify({ userId: 'ann', anonymousId: 'visitor-1', traits: { name: 'Ann', tier: 'gold' } });
	analytics.group({ userId: 'ann', groupId: 'acme', traits: { plan: 'pro' } });
	analytics.alias({ userId: 'ann', previousId: 'ann@example.com' });
	analytics.track({ userId: 'ann', event: 'Order Completed', properties: { total: 120 }, timestamp: new Date('2024-02-03T04:05:06.789Z') });
	for (let i = 0; i < 40; i++) analytics.track({ userId: 'ann', event: 'Counted', properties: { i } });
	await analytics.closeAndFlush({ timeout: 20000 });
}

main().then(() => process.exit(0), (e) => { console.log(String(e)); process.exit(1); });
