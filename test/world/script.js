// What the customer of order k wants and how he behaves: the seed decides.

'use strict';

const { between, dice, pick } = require('./common');

const METHODS = [[0.5, 'qr'], [0.72, 'card'], [0.9, 'till'], [1, 'slow']];

function holdsOf(k, d) {
	const holds = [];
	// ten orders race for each coupon, forty for each stock of 10
	if (d('coupon') < 0.35) holds.push(`coupon:C${Math.floor(k / 10)}`);
	if (d('stock') < 0.3) holds.push(`stock:S${Math.floor(k / 40)}#${between(d('pieces'), 1, 4)}`);
	if (d('points') < 0.2) holds.push(`points:P${k % 50}#${between(d('how many'), 1, 100)}`);
	if (d('hotel') < 0.2) holds.push(`hotel:H${Math.floor(k / 5)}`, `hotel:G${Math.floor(k / 5)}`);
	return holds.length > 0 ? holds : null;
}

function script(seed, k, clients) {
	const d = (...about) => dice(seed, 'order', k, ...about);
	const looksAlike = d('payer') < 0.2;
	const holds = holdsOf(k, d);
	const merchantOf = (n) => dice(seed, 'order', n, 'merchant') < 0.2 ? 'east' : '';
	// an order replaces an earlier one of the same client
	const gives_up = d('replaces') < 0.1 && k > clients && merchantOf(k) === merchantOf(k - clients);
	// what he sends back, and whether the clerk's desk gives each click a number
	const parts = d('back') < 0.2 ? [1] : d('back') < 0.35 ? [0.3, 0.5] : [];
	return {
		k,
		d,
		order_no: `W${k}`,
		merchant: merchantOf(k),
		amount: looksAlike ? 5000 : between(d('amount'), 1000, 10000),
		currency: 'CNY',
		parts,
		desk: d('desk') < 0.3,
		payer: looksAlike ? `P${Math.floor(k / 12)}` : null,
		method: (request) => pick(d('method', request), METHODS),
		multi: d('multi') < 0.25,
		valid_for: holds || d('valid') < 0.2 ? `${between(d('how long'), 3, 9)} s` : null,
		holds,
		replaces: gives_up ? `W${k - clients}` : null,
	};
}

module.exports = { script };
