// The checker: reads the ledgers into the database, and says what is wrong and how much
// there was. Prints one line of JSON; it is called when all is over.

'use strict';

const fs = require('fs');
const { Client } = require('pg');

const dir = process.env.WORLD_DIR;
const lines = (name) => fs.existsSync(`${dir}/${name}`) ? fs.readFileSync(`${dir}/${name}`, 'utf8').split('\n').slice(0, -1) : [];

async function load(db, keeper, entries) {
	for (let i = 0; i < entries.length; i += 5000) {
		await db.query(
			`INSERT INTO world.ledger (keeper, entry)
			SELECT $1, value FROM jsonb_array_elements($2::jsonb) WITH ORDINALITY ORDER BY ordinality`,
			[keeper, `[${entries.slice(i, i + 5000).join(',')}]`]);
	}
}

const FIGURES = `SELECT
	(SELECT count(*) FROM pay_payment) AS orders,
	(SELECT count(*) FROM pay_payment WHERE state = 'paid') AS paid,
	(SELECT count(*) FROM pay_attempt) AS attempts,
	(SELECT count(*) FROM pay_event) AS events,
	(SELECT count(*) FROM pay_refund WHERE kind = 'surplus') AS surplus,
	(SELECT count(*) FROM pay_refund WHERE kind = 'refund') AS refunds,
	(SELECT count(*) FROM pay_refund WHERE kind = 'chargeback' AND refund_no LIKE 'cb-%') AS chargebacks,
	(SELECT count(*) FROM pay_refund WHERE kind = 'chargeback' AND refund_no LIKE 'cb-%' AND state = 'returned') AS won,
	(SELECT count(*) FROM pay_refund WHERE kind <> 'chargeback' AND state = 'returned') AS returned,
	(SELECT count(*) FROM pay_refund WHERE kind = 'chargeback' AND refund_no NOT LIKE 'cb-%') AS bounced,
	(SELECT count(*) FROM pay_attempt WHERE amount_overdrawn > 0) AS overdrawn,
	(SELECT count(*) FROM pay_review WHERE kind = 'twin') AS twins,
	(SELECT count(*) FROM pay_event WHERE reported = 'authorized' AND decision = 'unchanged' AND attempt_after = 'capturing') AS late_authorizations,
	(SELECT count(*) FROM pay_hold) AS holds,
	(SELECT count(*) FROM pay_hold WHERE state = 'released') AS released,
	(SELECT count(*) FROM pay_payment WHERE replaced_by IS NOT NULL) AS replaced,
	(SELECT count(*) FROM world.claimed) AS tasks,
	(SELECT jsonb_object_agg(action, n) FROM (SELECT action, count(*) AS n FROM world.claimed GROUP BY 1) a) AS actions,
	(SELECT jsonb_object_agg(kind, n) FROM (SELECT kind, count(*) AS n FROM pay_review GROUP BY 1) a) AS reviews,
	(SELECT jsonb_object_agg(decision, n) FROM (SELECT decision::text, count(*) AS n FROM pay_event GROUP BY 1) a) AS decisions,
	(SELECT jsonb_object_agg(state, n) FROM (SELECT state::text, count(*) AS n FROM pay_payment GROUP BY 1) a) AS states`;

async function main() {
	const db = new Client();
	await db.connect();
	await db.query('TRUNCATE world.ledger');
	for (const keeper of ['channel', 'participant']) await load(db, keeper, lines(`${keeper}.ledger`));
	await load(db, 'client', lines('told').map((line) => {
		const [order_no, trade_no] = line.split(' ');
		return JSON.stringify({ order_no, trade_no });
	}));
	await db.query('ANALYZE');
	const { rows: violations } = await db.query(
		`SELECT "check", count(*)::integer AS times, (array_agg(format('%s (payment %s of order %s)', v.what, v.pay_no, p.order_no)))[1:5] AS examples
		FROM world.violation v LEFT JOIN pay_payment p USING (pay_no) GROUP BY 1 ORDER BY 1`);
	const { rows: [figures] } = await db.query(FIGURES);
	await db.end();
	console.log(JSON.stringify({ violations, figures }));
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
