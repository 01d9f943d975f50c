// What the world writes down in its own tables, in the transactions of which it tells.

'use strict';

// This order has just been paid: the parcel goes out.
const paid = (db, order, by) => db.query(
	'INSERT INTO world.delivered (merchant, order_no, by) VALUES ($1, $2, $3)', [order.merchant, order.order_no, by]);

// These tasks were handed out.
const claimed = (db, worker, leaseS, tasks) => db.query(
	`INSERT INTO world.claimed (worker, lease, action, pay_no, trade_no, refund_no, resource, lease_until)
	SELECT $1, make_interval(secs => $2), t.* FROM jsonb_to_recordset($3::jsonb)
		AS t (action text, pay_no uuid, trade_no text, refund_no text, resource text, lease_until timestamptz)`,
	[worker, leaseS, JSON.stringify(tasks)]);

// This attempt was handed out by pay_prepay, for an order that is to hold this.
const proceeded = (db, order, trade_no, holds) => db.query(
	`INSERT INTO world.proceeded (trade_no, merchant, order_no, holds) VALUES ($1, $2, $3, coalesce($4, '{}'::text[]))
	ON CONFLICT DO NOTHING`, [trade_no, order.merchant, order.order_no, holds]);

module.exports = { claimed, paid, proceeded };
