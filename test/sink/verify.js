'use strict';
/*
 * verify.js: asks the public Standard Webhooks library whether a message is signed right.
 *
 * Secrets belong to paths: an exact path, a prefix ending in '*', or '*' for all; a path may have several (rotation). The
 * library refuses timestamps more than five minutes off real time, and so do we.
 */
const { Webhook } = require('standardwebhooks');

class Verifier {
	constructor() {
		this.exact = new Map();
		this.prefixes = [];
	}

	/** add: keep the earlier secrets of this path valid too. */
	setSecret(path, secret, add) {
		const hooks = (Array.isArray(secret) ? secret : [secret]).filter(Boolean).map((s) => new Webhook(s));
		if (path.endsWith('*')) {
			const prefix = path.slice(0, -1);
			let entry = this.prefixes.find((p) => p.prefix === prefix);
			if (!entry) {
				entry = { prefix, hooks: [] };
				this.prefixes.push(entry);
				this.prefixes.sort((a, b) => b.prefix.length - a.prefix.length);
			}
			entry.hooks = add ? entry.hooks.concat(hooks) : hooks;
		} else
			this.exact.set(path, add ? (this.exact.get(path) || []).concat(hooks) : hooks);
	}

	load(secrets) {
		for (const [path, secret] of Object.entries(secrets))
			this.setSecret(path, secret, false);
	}

	hooksOf(path) {
		const hooks = this.exact.get(path);
		if (hooks)
			return hooks;
		const entry = this.prefixes.find((p) => path.startsWith(p.prefix));
		return entry ? entry.hooks : [];
	}

	/** { verified: true | false | null, error, nsig }: null without a known secret; nsig signatures that hold. */
	check(path, body, headers) {
		const hooks = this.hooksOf(path);
		if (hooks.length === 0)
			return { verified: null, error: undefined };
		let error;
		for (const hook of hooks) {
			try {
				hook.verify(body, headers, { jsonParse: false });
				return { verified: true, error: undefined };
			} catch (e) {
				error = e.message;
			}
		}
		return { verified: false, error };
	}
}

module.exports = { Verifier };
