// An order's life through node-postgres, as an application writes it: named
// prepared statements, text parameters, JavaScript numbers, nulls, objects.
//
// Each check is printed as a line of JSON, which the TAP test reads.

'use strict';

const { Client, Pool } = require('pg');

let checks = 0;

function check(name, got, expected) {
	checks++;
	console.log(JSON.stringify({ name, got: JSON.stringify(got), expected: JSON.stringify(expected) }));
}

// The statements, each named: node-postgres prepares it once per connection.
const statement = {
	prepay: `SELECT decision, pay_no, trade_no, state, attempt, amount, currency, credential, refundable, detail
		FROM pay_prepay(order_no => $1, amount => $2, currency => $3, channel => $4, method => $5, request_id => $6,
			payer => $7, multi => $8, valid_for => $9, metadata => $10)`,
	credential: `SELECT decision, credential, credential_expires_at FROM pay_credential($1, $2, $3)`,
	callback: `SELECT decision, state, attempt, attempt_state FROM pay_callback(channel => $1, callback_id => $2, trade_no => $3,
		reported => $4, amount => $5, currency => $6, channel_txn => $7, occurred_at => $8, payload => $9)`,
	transition: `SELECT decision, state FROM pay_transition(trade_no => $1, to_state => $2, reason => $3)`,
	query: `SELECT * FROM pay_query($1, $2)`,
	row: `SELECT p.order_no FROM pay_payment p WHERE p.pay_no = pay_number($1)`,
	close: `SELECT decision, state FROM pay_close(order_no => $1, reason => $2)`,
	history: `SELECT * FROM pay_history($1)`,
	refund: `SELECT decision, state, amount, refundable FROM pay_refund($1, $2, $3, $4)`,
	refundCallback: `SELECT decision, state, refundable FROM pay_refund_callback(channel => $1, callback_id => $2, refund_no => $3,
		reported => $4, amount => $5, currency => $6, payload => $7)`,
	dispute: `SELECT decision, verdict, pay_no FROM pay_dispute_open($1, $2, $3)`,
	balance: `SELECT state, collected, refunded, refundable, to_close FROM pay_balance WHERE order_no = $1`,
	byState: `SELECT order_no, state FROM pay_payment WHERE state = $1 ORDER BY order_no`,
};

async function call(client, name, values) {
	const { rows } = await client.query({ name, text: statement[name], values });
	return rows;
}

async function prepay(client, order, request, amount, more = {}) {
	const [row] = await call(client, 'prepay', [order, amount, more.currency ?? 'CNY', more.channel ?? 'test', more.method ?? 'card',
		request, more.payer ?? null, more.multi ?? null, more.validFor ?? null, more.metadata ?? null]);
	return row;
}

async function fails(name, promise, code) {
	try {
		await promise;
		check(name, 'no error', code);
	} catch (error) {
		check(name, error.code, code);
		check(`${name}: severity`, error.severity, 'ERROR');
		check(`${name}: has a detail`, typeof error.detail, 'string');
		return error;
	}
}

async function life(client) {
	const first = await prepay(client, 'N1', 'r1', 8800, { payer: 'Zoë', validFor: '1 day', metadata: { cart: [1, 2], note: 'a "quote"' } });
	check('a new order', [first.decision, first.state, first.attempt], ['proceed', 'paying', 1]);
	check('bigint comes as text, as node-postgres has it', [first.amount, first.refundable], ['8800', '0']);
	check('trade_no is 32 hex digits', /^[0-9a-f]{32}$/.test(first.trade_no), true);
	check('pay_no is 32 hex digits', /^[0-9a-f]{12}8000[0-9a-f]{16}$/.test(first.pay_no), true);

	const second = await prepay(client, 'N1', 'r2', '8800');
	check('an impatient click, the amount as text', [second.decision, second.trade_no], ['in_progress', first.trade_no]);

	check('the credential', (await call(client, 'credential', [first.trade_no, 'wx2014', '2 hours']))[0].decision, 'applied');
	check('the credential again', (await call(client, 'credential', [first.trade_no, 'wx2014', '2 hours']))[0].decision, 'replayed');
	check('a duplicate shows it', (await prepay(client, 'N1', 'r3', 8800)).credential, 'wx2014');
	check('a number with dashes', (await call(client, 'credential',
		[first.trade_no.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'), 'wx2014', '2 hours']))[0].decision, 'replayed');

	const when = new Date('2026-05-06T07:08:09.123Z');
	const failed = ['test', 'n1', first.trade_no, 'failed', null, null, null, when, { code: 'NOTENOUGH' }];
	check('failed, with null amount', (await call(client, 'callback', failed))[0],
		{ decision: 'applied', state: 'failed', attempt: 1, attempt_state: 'failed' });

	const next = await prepay(client, 'N1', 'r4', 8800, { method: 'qr' });
	check('once more', [next.decision, next.attempt, next.trade_no === first.trade_no], ['proceed', 2, false]);
	// keys in the order in which jsonb gives them back
	const payload = { id: 'evt_1', resource: { list: [1, { deep: null }], text: 'é\u4e2d "x"\\', total: 8800 } };
	const paid = ['test', 'n2', next.trade_no, 'paid', 8800, 'CNY', '4200001', when, payload];
	check('paid', (await call(client, 'callback', paid))[0], { decision: 'applied', state: 'paid', attempt: 2, attempt_state: 'paid' });
	check('paid, delivered again', (await call(client, 'callback', paid))[0],
		{ decision: 'replayed', state: 'paid', attempt: 2, attempt_state: 'paid' });
	check('already paid', (await prepay(client, 'N1', 'r5', 8800)).decision, 'already_paid');

	const [query] = await call(client, 'query', ['N1', '']);
	check('pay_query', [query.decision, query.state, query.amount, query.order_no], ['already_paid', 'paid', '8800', 'N1']);
	check('the row of a number', (await call(client, 'row', [query.pay_no]))[0], { order_no: 'N1' });
	check('pay_close of a paid order', (await call(client, 'close', ['N1', 'sold out']))[0], { decision: 'already_paid', state: 'paid' });
	const [nobody] = await call(client, 'query', ['nobody', '']);
	check('pay_query of no order', [nobody.decision, nobody.pay_no], ['proceed', null]);

	const history = await call(client, 'history', [next.trade_no]);
	check('pay_history', history.map((event) => [event.seq, event.source, event.message_id, event.payment_after]), [
		[1, 'prepay', null, 'paying'],
		[2, 'credential', null, 'paying'],
		[3, 'callback:test', 'n1', 'failed'],
		[4, 'prepay', null, 'paying'],
		[5, 'callback:test', 'n2', 'paid'],
	]);
	check('a payload object comes back', history[4].payload, payload);
	check('a Date comes back', history[4].occurred_at, when);
	check('metadata comes back', (await client.query("SELECT metadata, payer FROM pay_payment WHERE order_no = 'N1'")).rows,
		[{ metadata: { cart: [1, 2], note: 'a "quote"' }, payer: 'Zoë' }]);
	check('a state as a parameter', (await call(client, 'byState', ['paid'])), [{ order_no: 'N1', state: 'paid' }]);
	check('a refund', (await call(client, 'refund', [next.trade_no, 'N1-1', 800, 'one plate broken']))[0],
		{ decision: 'proceed', state: 'requested', amount: '800', refundable: '8000' });
	check('a refund, asked for again', (await call(client, 'refund', [next.pay_no, 'N1-1', '800', 'one plate broken']))[0],
		{ decision: 'replayed', state: 'requested', amount: '800', refundable: '8000' });
	const back = ['test', 'm1', 'N1-1', 'succeeded', 800, 'CNY', payload];
	check('it succeeds', (await call(client, 'refundCallback', back))[0], { decision: 'applied', state: 'succeeded', refundable: '8000' });
	check('it succeeds, delivered again', (await call(client, 'refundCallback', back))[0],
		{ decision: 'replayed', state: 'succeeded', refundable: '8000' });
	check('the balance', (await call(client, 'balance', ['N1']))[0],
		{ state: 'paid', collected: '8800', refunded: '800', refundable: '8000', to_close: 0 });
	const other = await prepay(client, 'N2', 'r1', 8800);
	check('a dispute', (await call(client, 'dispute', [next.trade_no, other.pay_no, 'twice']))[0],
		{ decision: 'applied', verdict: null, pay_no: next.pay_no });

	check('every statement was prepared under its name',
		(await client.query('SELECT name FROM pg_prepared_statements ORDER BY name')).rows.map((row) => row.name),
		['balance', 'byState', 'callback', 'close', 'credential', 'dispute', 'history', 'prepay', 'query', 'refund', 'refundCallback', 'row']);
}

async function errors(client) {
	const open = await prepay(client, 'E1', 'r1', 100);
	const conflict = await fails('other content', prepay(client, 'E1', 'r1', 101), 'PY422');
	check('its message names the order', /E1/.test(conflict.message + conflict.detail), true);
	await fails('another currency', prepay(client, 'E1', 'r1', 100, { currency: 'USD' }), 'PY422');
	await fails('less than nothing', prepay(client, 'E2', 'r1', -1), 'PY400');
	check('an order that costs nothing', (await prepay(client, 'E0', 'r1', 0)).decision, 'already_paid');
	await fails('amount above what JSON carries', prepay(client, 'E2', 'r1', '9007199254740992'), 'PY400');
	check('the largest amount', (await prepay(client, 'E3', 'r1', Number.MAX_SAFE_INTEGER)).amount, '9007199254740991');
	await fails('null for the order', prepay(client, null, 'r1', 100), 'PY400');
	await fails('empty request id', prepay(client, 'E2', '', 100), 'PY400');
	await fails('unknown channel', prepay(client, 'E2', 'r1', 100, { channel: 'barter' }), 'PY400');
	const unknown = await fails('no such payment', call(client, 'transition', ['4d8b8a5e-0000-4000-8000-000000000000', 'failed', null]), 'PY404');
	check('no such payment: routine of an error is ours', typeof unknown.routine, 'string');
	const illegal = await fails('an illegal step', call(client, 'transition', [open.trade_no, 'paying', 'because']), 'PY409');
	check('an illegal step: has a hint', /pay_prepay/.test(illegal.hint), true);
	await fails('a refund of what was not paid', call(client, 'refund', [open.trade_no, 'E1-1', 1, 'x']), 'PY409');
	await fails('a negative refund', call(client, 'refund', [open.trade_no, 'E1-1', -1, 'x']), 'PY400');
	check('the connection goes on', (await prepay(client, 'E1', 'r2', 100)).decision, 'in_progress');

	await client.query('BEGIN');
	check('in a transaction', (await prepay(client, 'E4', 'r1', 100)).decision, 'proceed');
	await client.query('ROLLBACK');
	check('rolled back', (await call(client, 'query', ['E4', '']))[0].pay_no, null);
}

// The same order from eight connections at once, again and again.
async function storm(pool) {
	for (let n = 1; n <= 25; n++) {
		const rows = await Promise.all(Array.from({ length: 8 }, (_, i) => prepay(pool, `S${n}`, `r${i}`, 500)));
		check(`order S${n}: decisions of eight`, rows.map((row) => row.decision).sort(),
			[...Array(7).fill('in_progress'), 'proceed']);
		check(`order S${n}: one number`, new Set(rows.map((row) => row.trade_no)).size, 1);

		const told = await Promise.all(Array.from({ length: 8 }, () =>
			call(pool, 'callback', ['test', 'n1', rows[0].trade_no, 'paid', 500, 'CNY', 't1', null, { n }])));
		check(`order S${n}: callbacks of eight`, told.map(([row]) => row.decision).sort(),
			['applied', ...Array(7).fill('replayed')]);

		check(`order S${n}: eight connections took part`, pool.totalCount, 8);
		// node-postgres drops a connection that heard an error, and makes a new one
		const oneClick = await Promise.all(Array.from({ length: 8 }, (_, i) =>
			call(pool, 'refund', [rows[0].trade_no, `S${n}-click-${i}`, 100, 'one click']).then(([row]) => row.decision)));
		check(`order S${n}: one click, eight numbers`, oneClick.sort(), [...Array(7).fill('confirm'), 'proceed']);
		const refunds = await Promise.all(Array.from({ length: 8 }, (_, i) =>
			call(pool, 'refund', [rows[0].trade_no, `S${n}-${i}`, 100, `of part ${i}`]).then(([row]) => row.decision, (error) => error.code)));
		check(`order S${n}: of eight refunds of a fifth`, refunds.sort(), [...Array(4).fill('PY409'), ...Array(4).fill('proceed')]);
	}
}

async function main() {
	const client = new Client();
	await client.connect();
	await life(client);
	await errors(client);
	await client.end();

	const pool = new Pool({ max: 8 });
	await storm(pool);
	await pool.end();

	console.log(JSON.stringify({ done: checks }));
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
