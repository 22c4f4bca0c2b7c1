'use strict';
/*
 * shop.js: an invented shop's day, from a seed: who comes, what they look at, what they buy, what they leave behind.
 *
 * makeDay({ seed, shoppers, start }) → { shoppers, actions, facts }
 *   actions  in the order in which the shop's systems hand them over (`at`, ms). Each has a kind:
 *              identify  user_id, traits, anonymous_id
 *              track     user_id, anonymous_id, event, properties, occurred_at (ms), message_id, via: 'sql' | 'copy'
 *              order     an order row and its `Order Completed` in one transaction; refused: the card is declined, rollback
 *   facts    what a reader may expect to find: events, orders, refused_orders (rolled back), carts, carts_left (never
 *            ordered), carts_rescued (ordered on a later day), sign_ups, merges, repeats, late, conflicting, by_name
 *
 * Times: the morning (four hours of browsing before `start`) is history; the afternoon lasts six hours from `start`; the
 * following three days bring back some who left a cart. Same seed and start, same bytes.
 * Event names are those of the Segment e-commerce spec where it has one.
 */
const MINUTE = 60000;
const HOUR = 60 * MINUTE;

/** Small seeded generator (mulberry32) with the draws a shop needs. */
function makeDice(seed) {
	let a = seed >>> 0;
	const next = () => {
		a = (a + 0x6d2b79f5) >>> 0;
		let t = Math.imul(a ^ (a >>> 15), a | 1);
		t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
	};
	return {
		next,
		chance: (p) => next() < p,
		int: (low, high) => low + Math.floor(next() * (high - low + 1)),
		pick: (list) => list[Math.floor(next() * list.length)],
		/** few are common, many are rare */
		skewed: (list) => list[Math.floor(list.length * next() ** 2)],
		gap: (mean) => Math.round(-Math.log(1 - next()) * mean),
		hex: (n) => Array.from({ length: n }, () => Math.floor(next() * 16).toString(16)).join(''),
	};
}

const FIRST = ['Ada', 'Bea', 'Carl', 'Dora', 'Emil', 'Fay', 'Greta', 'Hugo', 'Ines', 'Jon', 'Kira', 'Leo', 'Mina', 'Nils',
	'Olga', 'Paul', 'Rosa', 'Sven', 'Tara', 'Uwe', 'Vera', 'Wim', 'Yara', 'Zoë'];
const LAST = ['Abel', 'Berg', 'Conrad', 'Dahl', 'Ekholm', 'Fuchs', 'Graf', 'Holm', 'Iversen', 'Jansen', 'Krüger', 'Lind',
	"O'Neill", 'Moreau', 'Novak', 'Olsen', 'Petit', 'Quist', 'Rossi', 'Silva', 'Thorn', 'Urban', 'Vogel', 'Wolff'];
const PLACES = [['Berlin', 'DE', 'Europe/Berlin'], ['Hamburg', 'DE', 'Europe/Berlin'], ['Lyon', 'FR', 'Europe/Paris'],
	['Porto', 'PT', 'Europe/Lisbon'], ['Leeds', 'GB', 'Europe/London'], ['Boston', 'US', 'America/New_York'],
	['Kyoto', 'JP', 'Asia/Tokyo']];
const GOODS = [['Kitchen', ['Kettle', 'Pan', 'Knife', 'Coffee Grinder', 'Bread Box', 'Scale', 'Teapot', 'Whisk']],
	['Garden', ['Spade', 'Watering Can', 'Bird House', 'Lantern', 'Hammock', 'Seed Box', 'Gloves', 'Rake']],
	['Office', ['Desk Lamp', 'Notebook', 'Fountain Pen', 'Paper Tray', 'Chair', 'Calendar', 'Clock', 'Shelf']],
	['Play', ['Kite', 'Puzzle', 'Marble Run', 'Yo-yo', 'Chess Set', 'Wooden Train', 'Ball', 'Drum']]];
const COLOURS = ['Red', 'Blue', 'Green'];

function makeProducts(dice) {
	const products = [];
	for (const [category, names] of GOODS)
		for (const name of names)
			for (const colour of COLOURS)
				if (products.length < 72)
					products.push({ product_id: `P${100 + products.length}`, sku: `${category[0]}-${name.slice(0, 3).toUpperCase()}-`
						+ colour[0], name: `${colour} ${name}`, category, price: dice.int(4, 90) + dice.pick([0, 0.5, 0.95]) });
	return products;
}

function makeShopper(dice, i) {
	const known = dice.chance(0.55);
	const name = `${dice.pick(FIRST)} ${dice.pick(LAST)}`;
	const [city, country, time_zone] = dice.pick(PLACES);
	const user_id = `u${1001 + i}`;
	return {
		user_id, known, anonymous_id: `anon-${dice.hex(12)}`,
		signed_in: known && dice.chance(0.7),
		traits: { name, email: `${user_id}@example.com`, city, country, time_zone,
			tier: dice.pick(['bronze', 'bronze', 'silver', 'gold']), newsletter: dice.chance(0.6) },
	};
}

/** Writes the actions of one day; each method is something a shopper does at a moment, and moves the moment on. */
class Day {
	constructor({ seed, shoppers, start }) {
		this.dice = makeDice(seed);
		this.start = start;
		this.products = makeProducts(this.dice);
		this.shoppers = Array.from({ length: shoppers }, (x, i) => makeShopper(this.dice, i));
		this.actions = [];
		this.messages = 0;
		this.orders = 0;
		this.carts = 0;
		this.facts = { merges: 0, repeats: 0, late: 0, conflicting: 0 };
		this.left = [];			// carts without an order, for the days after
	}

	/** who: { shopper, at, via }; a signed-in shopper acts under his user id, another under the browser's. */
	track(who, event, properties, at = who.at) {
		const s = who.shopper;
		const action = { kind: 'track', at, via: who.via, event, properties, occurred_at: at,
			user_id: s.signed_in ? s.user_id : null, anonymous_id: s.signed_in ? null : s.anonymous_id,
			message_id: `m-${String(++this.messages).padStart(6, '0')}` };
		this.actions.push(action);
		return action;
	}

	identify(who, traits) {
		const s = who.shopper;
		this.actions.push({ kind: 'identify', at: who.at, user_id: s.user_id, traits,
			anonymous_id: s.signed_in ? null : s.anonymous_id });
		if (!s.signed_in)
			this.facts.merges++;
		s.signed_in = s.known = true;
	}

	line(product, quantity) {
		return { product_id: product.product_id, sku: product.sku, name: product.name, category: product.category,
			price: product.price, quantity };
	}

	browse(who) {
		const dice = this.dice;
		if (dice.chance(0.4)) {
			this.track(who, 'Products Searched', { query: dice.pick(dice.pick(GOODS)[1]).toLowerCase() });
			who.at += dice.gap(MINUTE / 2);
		}
		const favourite = dice.skewed(this.products);
		const seen = [];
		for (let n = dice.int(1, 6); n > 0; n--) {
			const product = dice.chance(0.35) ? favourite : dice.skewed(this.products);
			this.track(who, 'Product Viewed', { product_id: product.product_id, name: product.name, category: product.category,
				price: product.price, stock: dice.chance(0.15) ? dice.int(0, 3) : dice.int(8, 80) });
			seen.push(product);
			who.at += 5000 + dice.gap(MINUTE);
		}
		if (dice.chance(0.04))
			this.track(who, 'Back In Stock Requested', { product_id: favourite.product_id, name: favourite.name });
		return seen;
	}

	signUp(who) {
		this.track(who, 'Onboarding Started', { page: '/welcome' });
		who.at += 20000 + this.dice.gap(MINUTE);
		if (this.dice.chance(0.3))
			return;									// thinks better of it
		this.identify(who, who.shopper.traits);
		this.track(who, 'Signed Up', { plan: 'free', source: this.dice.pick(['search', 'friend', 'ad']) });
		who.at += 10000;
	}

	/** Fills a cart; how it ends: 'left', 'at checkout', 'bought'. */
	shop(who, seen, ending) {
		const dice = this.dice;
		const cart = { cart_id: `C${5000 + ++this.carts}`, lines: [], shopper: who.shopper };
		for (let n = Math.min(seen.length, dice.int(1, 3)); n > 0; n--) {
			const line = this.line(seen[seen.length - n], dice.pick([1, 1, 1, 2, 3]));
			cart.lines.push(line);
			this.track(who, 'Product Added', { cart_id: cart.cart_id, ...line, amount: this.total([line]), cart_total:
				this.total(cart.lines) });
			who.at += 10000 + dice.gap(MINUTE);
		}
		if (dice.chance(0.6)) {
			this.track(who, 'Cart Viewed', { cart_id: cart.cart_id, cart_total: this.total(cart.lines) });
			who.at += 5000 + dice.gap(MINUTE / 2);
		}
		if (ending === 'left')
			this.left.push(cart);
		else
			this.checkout(who, cart, ending);
	}

	total(lines) {
		return Number(lines.reduce((sum, l) => sum + l.price * l.quantity, 0).toFixed(2));
	}

	checkout(who, cart, ending) {
		if (!who.shopper.signed_in)
			this.identify(who, who.shopper.known ? {} : who.shopper.traits);
		this.track(who, 'Checkout Started', { cart_id: cart.cart_id, cart_total: this.total(cart.lines) });
		who.at += 20000 + this.dice.gap(2 * MINUTE);
		if (ending === 'at checkout') {
			this.left.push(cart);
			return;
		}
		if (this.dice.chance(0.06)) {
			this.order(who, cart, true);
			who.at += MINUTE;
			if (this.dice.chance(0.5)) {
				this.left.push(cart);
				return;
			}
		}
		this.order(who, cart, false);
	}

	order(who, cart, refused) {
		const order_id = `O${70000 + ++this.orders}`;
		const total = this.total(cart.lines);
		const action = this.track(who, 'Order Completed', { order_id, cart_id: cart.cart_id, total, currency: 'EUR',
			products: cart.lines });
		Object.assign(action, { kind: 'order', refused, order_id, total, via: 'sql', message_id: `order-${order_id}` });
		if (refused)
			return;
		const later = { shopper: who.shopper, at: who.at, via: 'sql' };
		if (this.dice.chance(0.08))
			this.track(later, 'Order Cancelled', { order_id, cart_id: cart.cart_id, total }, who.at + 20 * MINUTE
				+ this.dice.gap(HOUR));
		else
			this.track(later, 'Order Shipped', { order_id, carrier: this.dice.pick(['Post', 'Van', 'Bicycle']), tracking:
				this.dice.hex(10).toUpperCase() }, who.at + 18 * HOUR + this.dice.gap(8 * HOUR));
	}

	visit(shopper, at) {
		const dice = this.dice;
		const who = { shopper, at, via: dice.chance(0.6) ? 'copy' : 'sql' };
		const seen = this.browse(who);
		if (!shopper.known && dice.chance(0.18))
			this.signUp(who);
		const u = dice.next();
		if (u < 0.2)
			this.shop(who, seen, 'bought');
		else if (u < 0.42)
			this.shop(who, seen, 'left');
		else if (u < 0.5)
			this.shop(who, seen, 'at checkout');
	}

	/** Some come back for their cart, within the day or too late. */
	comeBack() {
		for (const cart of this.left.splice(0)) {
			const who = { shopper: cart.shopper, via: 'sql', at: this.start + 6 * HOUR + this.dice.int(8, 56) * HOUR
				+ this.dice.gap(HOUR) };
			if (this.dice.chance(0.3))
				this.checkout(who, cart, 'bought');
		}
	}

	/** What a reader may expect to find, counted from the actions themselves. */
	count(evening) {
		const first = this.actions.filter((a) => a.kind !== 'identify' && !a.repeat);
		const real = first.filter((a) => !a.refused);
		const named = (name) => real.filter((a) => a.event === name);
		const carts = (list) => new Set(list.map((a) => a.properties.cart_id));
		const bought = carts(named('Order Completed'));
		this.facts.events = real.length;
		this.facts.orders = named('Order Completed').length;
		this.facts.refused_orders = first.length - real.length;
		this.facts.carts = carts(named('Product Added')).size;
		this.facts.carts_left = this.facts.carts - bought.size;
		this.facts.carts_rescued = named('Order Completed').filter((a) => a.at >= evening).length;
		this.facts.sign_ups = named('Signed Up').length;
		this.facts.by_name = {};
		for (const a of real)
			this.facts.by_name[a.event] = (this.facts.by_name[a.event] || 0) + 1;
	}

	/** What networks do to messages: sent twice, sent late, and once in a while an id used again with other content. */
	disturb() {
		const dice = this.dice;
		const plain = this.actions.filter((a) => a.kind === 'track');
		for (const a of plain) {
			if (dice.chance(0.02)) {
				this.actions.push({ ...a, at: a.at + dice.gap(MINUTE), repeat: true });
				this.facts.repeats++;
			}
			if (a.event === 'Product Viewed' && dice.chance(0.02)) {
				a.at += 10 * MINUTE + dice.gap(20 * MINUTE);
				this.facts.late++;
			}
		}
		for (const a of plain.filter((x) => x.event === 'Product Added').slice(0, 3)) {
			this.actions.push({ ...a, at: a.at + MINUTE, repeat: true, properties: { ...a.properties, quantity: 99 } });
			this.facts.conflicting++;
		}
	}
}

function makeDay({ seed = 7, shoppers = 300, start }) {
	const day = new Day({ seed, shoppers, start });
	const dice = day.dice;
	for (const shopper of day.shoppers) {
		if (shopper.known)
			day.actions.push({ kind: 'identify', at: start - 5 * HOUR, user_id: shopper.user_id, traits: shopper.traits,
				anonymous_id: null });
		if (dice.chance(0.5)) {
			const who = { shopper, at: start - 4 * HOUR + dice.int(0, 220) * MINUTE, via: 'copy' };
			day.browse(who);
		}
		for (let n = dice.pick([1, 1, 1, 2, 2, 3]), at = start; n > 0; n--) {
			at += dice.int(2, Math.floor(330 / n)) * MINUTE;
			day.visit(shopper, Math.min(at, start + 6 * HOUR - 20 * MINUTE));
			at += 20 * MINUTE;
		}
	}
	day.comeBack();
	day.disturb();
	const order = new Map(day.actions.map((a, i) => [a, i]));
	day.actions.sort((a, b) => a.at - b.at || order.get(a) - order.get(b));
	day.count(start + 6 * HOUR);
	return { shoppers: day.shoppers, products: day.products, actions: day.actions, facts: day.facts };
}

module.exports = { makeDay, makeDice, MINUTE, HOUR };
