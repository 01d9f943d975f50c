// The shop's callback address: a channel's message becomes a call of pay_idem, and the
// answer tells the channel whether to send it again.

'use strict';

const { connect, transaction } = require('../../examples/worker/database');
const { complain, serve } = require('./common');
const { paid } = require('./records');

const pool = connect({ max: 6, user: 'world_shop', connectionTimeoutMillis: 1000 });

async function payment(db, m) {
	const { rows: [row] } = await db.query(
		`SELECT decision, merchant, order_no, attempt_state FROM pay_callback(channel => 'world', callback_id => $1, trade_no => $2, reported => $3,
			amount => $4, currency => $5, channel_txn => $6, occurred_at => $7, merchant => $8)`,
		[m.id, m.trade_no, m.state, m.amount, m.currency, m.channel_txn, m.occurred_at, m.merchant]);
	if (row.decision === 'applied' && row.attempt_state === 'paid') await paid(db, row, 'shop');
	return row.decision;
}

async function refund(db, m) {
	const { rows: [row] } = await db.query(
		`SELECT decision FROM pay_refund_callback(channel => 'world', callback_id => $1, refund_no => $2, reported => $3, amount => $4, currency => $5,
			trade_no => $6, channel_txn => $7, occurred_at => $8, kind => $9, merchant => $10)`,
		[m.id, m.refund_no, m.state, m.amount, m.currency, m.trade_no, m.channel_txn, m.occurred_at, m.kind, m.merchant]);
	return row.decision;
}

serve(process.env.SHOP_PORT, {
	notify: async (message) => {
		try {
			const decision = await transaction(pool, Date.now() + 1000,
				(db) => (message.about === 'payment' ? payment : refund)(db, message));
			return { ok: decision !== 'unmatched' };
		} catch (error) {
			if (error.code?.startsWith('PY')) complain(`${JSON.stringify(message)}: ${error.message}`);
			return undefined;		// not OK: it comes again
		}
	},
});
