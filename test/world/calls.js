// What the shop's pages call, with the world's records of what they were answered.

'use strict';

const fs = require('fs');
const { connect, transaction } = require('../../examples/worker/database');
const { complain } = require('./common');
const { proceeded } = require('./records');

const dir = process.env.WORLD_DIR;
const TOO_LATE = ['PY409'];		// for this step; nothing left to refund

// Connects so many sessions; close() when there is nothing more to call.
function calls(sessions) {
	const pool = connect({ max: sessions, user: 'world_shop', connectionTimeoutMillis: 1000 });

	async function call(text, values, also = async () => {}, expected = TOO_LATE) {
		try {
			return await transaction(pool, Date.now() + 600000, async (db) => {
				const { rows: [row] } = await db.query(text, values);
				await also(db, row);
				return row;
			});
		} catch (error) {
			if (!expected.includes(error.code)) complain(`${text} ${JSON.stringify(values)}: ${error.code} ${error.message} ${error.detail ?? ''}`);
			return { decision: error.code };
		}
	}

	async function prepay(o, how) {
		const answer = await call(
			`SELECT decision, pay_no, trade_no, state, attempt_state, credential, other_order_no, method
			FROM pay_prepay(order_no => $1, amount => $2, currency => $3, channel => 'world', method => $4, request_id => $5, merchant => $6, payer => $7,
				multi => $8, valid_for => $9, replaces => $10, confirm => $11, holds => $12)`,
			[o.order_no, o.amount, o.currency, how.method, how.request_id, o.merchant, o.payer, o.multi, o.valid_for, how.replaces ?? null,
				how.confirm ?? false, how.holds],
			async (db, row) => {
				if (row.decision === 'proceed') await proceeded(db, o, row.trade_no, how.holds);
			}, how.replaces ? [...TOO_LATE, 'PY404'] : []);
		fs.appendFileSync(`${dir}/answers`, `${answer.decision}\n`);
		// told by the server that it is committed: never to be lost
		if (answer.decision === 'proceed') fs.appendFileSync(`${dir}/told`, `${o.order_no} ${answer.trade_no}\n`);
		return answer;
	}

	const query = (o) => call('SELECT decision, state, trade_no, attempt_state, pay_no FROM pay_query(order_no => $1, merchant => $2)', [o.order_no, o.merchant]);

	const giveUp = (o, reason) => call('SELECT decision FROM pay_close(order_no => $1, merchant => $2, reason => $3)', [o.order_no, o.merchant, reason]);

	const step = (number, to, reason) => call('SELECT decision FROM pay_transition(trade_no => $1, to_state => $2, reason => $3)', [number, to, reason]);

	const credential = (trade_no, text, valid_for) => call(
		'SELECT decision FROM pay_credential(trade_no => $1, credential => $2, valid_for => $3)', [trade_no, text, valid_for]);

	const tried = (pay_no, resource) => call('SELECT decision FROM pay_hold_done(trade_no => $1, resource => $2, done => $3)', [pay_no, resource, 'tried']);

	const refund = (pay_no, refund_no, amount, currency) => call(
		'SELECT decision FROM pay_refund(trade_no => $1, refund_no => $2, amount => $3, reason => $4, currency => $5)',
		[pay_no, refund_no, amount, 'sent back', currency]);

	return { prepay, query, giveUp, step, credential, tried, refund, close: () => pool.end() };
}

module.exports = { calls };
