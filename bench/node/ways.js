// Ways to take a payment, as an application has them: prepay(order) and
// callback(message), each answering with a decision. All on node-postgres, with a pool
// and named prepared statements, and all writing the same rows.

'use strict';

const { Pool } = require('pg');
const { Redis } = require('ioredis');

function connect(connections) {
	return new Pool({ max: connections, min: connections, idleTimeoutMillis: 0 });
}

// statements: name -> SQL. node-postgres prepares each once in a connection.
function asked(statements) {
	return (db, name, values) => db.query({ name, text: statements[name], values });
}

// run(db) in a transaction; what it returns is the answer. An answer that is not to be
// committed is thrown as NotNow.
class NotNow extends Error {
	constructor(decision) {
		super(decision);
		this.decision = decision;
	}
}

async function transaction(pool, run) {
	const db = await pool.connect();
	try {
		await db.query('BEGIN');
		const answer = await run(db);
		await db.query('COMMIT');
		return answer;
	} catch (error) {
		await db.query('ROLLBACK');
		if (error instanceof NotNow) return { decision: error.decision };
		throw error;
	} finally {
		db.release();
	}
}

// The application's own numbers: time, then a counter, so that they sort; the attempt is in the ninth byte.
let counter = 0;
function newNumber() {
	return `${Date.now().toString(16).padStart(12, '0')}800080${(counter++).toString(16).padStart(14, '0')}`;
}
const attemptOf = (number) => `${number.slice(0, 16)}81${number.slice(18)}`;
const paymentOf = (trade) => `${trade.slice(0, 16)}80${trade.slice(18)}`;

// ---- pay_idem ----

function payIdem({ connections }) {
	const pool = connect(connections);
	const ask = asked({
		prepay: `SELECT decision, trade_no FROM pay_prepay(order_no => $1, amount => $2, currency => $3, channel => $4, method => $5,
			request_id => $6)`,
		callback: `SELECT decision, state FROM pay_callback(channel => $1, callback_id => $2, trade_no => $3, reported => $4, amount => $5,
			currency => $6, channel_txn => $7, occurred_at => $8, payload => $9)`,
	});
	return {
		async prepay(o) {
			const { rows } = await ask(pool, 'prepay', [o.order_no, o.amount, o.currency, o.channel, o.method, o.request_id]);
			return rows[0];
		},
		async callback(m) {
			const { rows } = await ask(pool, 'callback',
				[m.channel, m.callback_id, m.trade_no, m.reported, m.amount, m.currency, m.channel_txn, m.occurred_at, m.payload]);
			return rows[0];
		},
		end: () => pool.end(),
	};
}

// ---- (c) transactions of single statements, as in bench/scripts/lifecycle_recipe.pgbench ----

const writes = (schema) => ({
	attempt: `INSERT INTO ${schema}.attempt (trade_no, pay_no, amount, attempt, route, state, request_id) VALUES ($1, $2, $3, 1, 2, 'p', $4)`,
	task: `INSERT INTO ${schema}.task (due_at, pay_no, attempt) VALUES (now() + interval '15 seconds' * (1 + random() / 5), $1, 1)`,
	opened: `INSERT INTO ${schema}.event (pay_no, amount, seq, attempt, decision, payment_before, payment_after, attempt_after, source, currency)
		VALUES ($1, $2, 1, 1, 'p', 'c', 'p', 'p', 'prepay', $3)`,
});

async function open(ask, db, o, number, trade) {
	await ask(db, 'attempt', [trade, number, o.amount, o.request_id]);
	await ask(db, 'task', [number]);
	await ask(db, 'opened', [number, o.amount, o.currency]);
	return { decision: 'proceed', trade_no: trade };
}

function recipe({ connections }) {
	const pool = connect(connections);
	const ask = asked({
		...writes('recipe'),
		look: `SELECT pay_no, state, amount, currency FROM recipe.payment WHERE merchant = '' AND order_no = $1 FOR UPDATE`,
		payment: `INSERT INTO recipe.payment (pay_no, amount, last_seq, state, currency, order_no, routes) VALUES ($1, $2, 1, 'p', $3, $4, '{2}')`,
		lock: `SELECT p.pay_no, p.state, p.last_seq, a.state AS attempt_state, a.amount, p.currency
			FROM recipe.attempt a JOIN recipe.payment p USING (pay_no) WHERE a.trade_no = $1 FOR UPDATE OF p`,
		attemptPaid: `UPDATE recipe.attempt SET state = 'P', amount_collected = $2, channel_txn = $3, reports = 1 WHERE trade_no = $1`,
		paymentPaid: `UPDATE recipe.payment SET state = 'P', winner = 1, amount_collected = $2, last_seq = $3 WHERE pay_no = $1`,
		paid: `INSERT INTO recipe.event (pay_no, occurred_at, amount, seq, attempt, reported, decision, payment_before, payment_after,
				attempt_before, attempt_after, source, message_id, currency, channel_txn, payload)
			VALUES ($1, $2, $3, $4, 1, 'P', 'a', 'p', 'P', 'p', 'P', $5, $6, $7, $8, $9)`,
	});
	return {
		prepay: (o) => transaction(pool, async (db) => {
			const { rows: [found] } = await ask(db, 'look', [o.order_no]);
			if (found) throw new NotNow(found.state === 'P' ? 'already_paid' : 'in_progress');
			const number = newNumber();
			await ask(db, 'payment', [number, o.amount, o.currency, o.order_no]);
			return open(ask, db, o, number, attemptOf(number));
		}),
		callback: (m) => transaction(pool, async (db) => {
			const { rows: [found] } = await ask(db, 'lock', [m.trade_no]);
			if (!found) throw new NotNow('unmatched');
			if (found.state !== 'p') throw new NotNow('stale');
			if (Number(found.amount) !== m.amount || found.currency !== m.currency) throw new NotNow('mismatch');
			const seq = found.last_seq + 1;
			await ask(db, 'attemptPaid', [m.trade_no, m.amount, m.channel_txn]);
			await ask(db, 'paymentPaid', [found.pay_no, m.amount, seq]);
			await ask(db, 'paid', [found.pay_no, m.occurred_at, m.amount, seq, `callback:${m.channel}`, m.callback_id, m.currency,
				m.channel_txn, m.payload]);
			return { decision: 'applied' };
		}),
		end: () => pool.end(),
	};
}

// ---- (d) a lock in Redis, optimistic updates, a log of callbacks ----

/*
 * As its best friend would write it: the lock is taken by one SET NX PX and given back by
 * a script that compares the token; commands of one moment share a packet. Nothing is
 * looked up before it is written: a payment or message that is there already makes the
 * insert do nothing, a state that is another one makes the update do nothing, and only then
 * does it look. The event of the callback is the callback's log.
 */
const LOCK_MS = 10000;

function withRedis(options) {
	const redis = new Redis({ ...options, enableAutoPipelining: true });
	redis.defineCommand('unlock', {
		numberOfKeys: 1,
		lua: `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end`,
	});
	return redis;
}

function redis({ connections, redis: options }) {
	const pool = connect(connections);
	const locks = withRedis(options);
	const ask = asked({
		...writes('redis'),
		payment: `INSERT INTO redis.payment (pay_no, amount, last_seq, state, currency, order_no, routes) VALUES ($1, $2, 1, 'p', $3, $4, '{2}')
			ON CONFLICT (merchant, order_no) DO NOTHING`,
		look: `SELECT state FROM redis.payment WHERE merchant = '' AND order_no = $1`,
		log: `INSERT INTO redis.event (pay_no, occurred_at, amount, seq, attempt, reported, decision, payment_before, payment_after,
				attempt_before, attempt_after, source, message_id, currency, channel_txn, payload)
			SELECT pay_no, $2, $3, last_seq + 1, 1, 'P', 'a', 'p', 'P', 'p', 'P', $4, $5, $6, $7, $8
			FROM redis.payment WHERE pay_no = $1
			ON CONFLICT (pay_no, source, message_id) WHERE message_id IS NOT NULL DO NOTHING`,
		attemptPaid: `UPDATE redis.attempt SET state = 'P', amount_collected = $2, channel_txn = $3
			WHERE trade_no = $1 AND state = 'p' AND amount = $2`,
		paymentPaid: `UPDATE redis.payment SET state = 'P', winner = 1, amount_collected = $2, last_seq = last_seq + 1
			WHERE pay_no = $1 AND state = 'p' AND currency = $3`,
	});

	async function locked(key, token, run) {
		if (await locks.set(key, token, 'PX', LOCK_MS, 'NX') !== 'OK') return { decision: 'in_progress' };
		try {
			return await run();
		} finally {
			if (await locks.unlock(key, token) !== 1) throw new Error(`lock ${key} ran out`);
		}
	}

	return {
		prepay: (o) => locked(`order:${o.order_no}`, o.request_id, () => transaction(pool, async (db) => {
			const number = newNumber();
			const { rowCount } = await ask(db, 'payment', [number, o.amount, o.currency, o.order_no]);
			if (rowCount === 0) {
				const { rows: [found] } = await ask(db, 'look', [o.order_no]);
				throw new NotNow(found.state === 'P' ? 'already_paid' : 'in_progress');
			}
			return open(ask, db, o, number, attemptOf(number));
		})),
		callback: (m) => locked(`trade:${m.trade_no}`, m.callback_id, () => transaction(pool, async (db) => {
			const number = paymentOf(m.trade_no);
			const logged = await ask(db, 'log', [number, m.occurred_at, m.amount, `callback:${m.channel}`, m.callback_id, m.currency,
				m.channel_txn, m.payload]);
			if (logged.rowCount === 0) throw new NotNow('replayed');
			const attempt = await ask(db, 'attemptPaid', [m.trade_no, m.amount, m.channel_txn]);
			const payment = await ask(db, 'paymentPaid', [number, m.amount, m.currency]);
			if (attempt.rowCount === 0 || payment.rowCount === 0) throw new NotNow('stale');
			return { decision: 'applied' };
		})),
		async end() {
			await pool.end();
			await locks.quit();
		},
	};
}

module.exports = { pay_idem: payIdem, recipe, redis };
