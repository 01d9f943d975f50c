// node check.js WAY [PORT]
//
// That a way of ways.js, or the application on PORT, takes an order once: prepay twice,
// two at once, the callback twice, one with another amount.

'use strict';

const assert = require('assert');
const options = require('./options.js');
const ways = require('./ways.js');

const order = { order_no: '4711', amount: 8800, currency: 'CNY', channel: 'test', method: 'card', request_id: 'click 1' };
const message = (more) => ({ channel: 'test', callback_id: 'notice 1', reported: 'paid', amount: 8800, currency: 'CNY', channel_txn: 'T1',
	occurred_at: new Date(), payload: {}, ...more });

// Not told apart here: different ways have different words for it.
const REFUSED = ['in_progress', 'already_paid', 'replayed', 'stale', 'unchanged', 'mismatch'];

async function checkWay(way) {
	const payments = ways[way](options);
	const { decision, trade_no } = await payments.prepay(order);
	assert.strictEqual(decision, 'proceed');
	assert.strictEqual((await payments.prepay({ ...order, request_id: 'click 2' })).decision, 'in_progress');
	assert((REFUSED.includes((await payments.callback(message({ trade_no, amount: 1, callback_id: 'wrong' }))).decision)));
	const next = await payments.prepay({ ...order, order_no: '4712', request_id: 'click 3' });
	assert.strictEqual((await payments.callback(message({ trade_no: next.trade_no }))).decision, 'applied');
	assert(REFUSED.includes((await payments.callback(message({ trade_no: next.trade_no }))).decision));
	assert.strictEqual((await payments.prepay({ ...order, order_no: '4712', request_id: 'click 4' })).decision, 'already_paid');
	await payments.end();
}

async function checkMiddleware(port) {
	const post = (body, key) => fetch(`http://127.0.0.1:${port}/prepay`, { method: 'POST', body: JSON.stringify(body),
		headers: { 'content-type': 'application/json', 'idempotency-key': key } });
	const first = await post(order, 'key 1');
	assert.strictEqual(first.status, 200);
	const answer = await first.text();
	assert.strictEqual(JSON.parse(answer).decision, 'proceed');
	assert.strictEqual(await (await post(order, 'key 1')).text(), answer);
	assert.notStrictEqual((await post({ ...order, amount: 1 }, 'key 1')).status, 200);
	assert.strictEqual((await (await post(order, 'key 2')).json()).decision, 'in_progress');
}

const [way, port] = process.argv.slice(2);
(port ? checkMiddleware(port) : checkWay(way)).catch((error) => {
	console.error(error);
	process.exit(1);
});
