// Transactions that are tried again when that helps, and only then.

'use strict';

const { Pool } = require('pg');

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The server's own words for "try again": two transactions got in each other's way.
const COLLIDED = ['40001', '40P01'];
// The server goes down or comes up, or the line to it broke.
const AWAY = /^(08|57P0[123])/;

function isWorthAnotherTry(error) {
	// An error of the server has a severity, and its code is an SQLSTATE.
	if (error.severity) return COLLIDED.includes(error.code) || AWAY.test(error.code);
	// Anything else is of the network (ECONNREFUSED ...), of node-postgres, or a mistake of ours.
	return Boolean(error.syscall) || /connection|not queryable|timeout/i.test(error.message);
}

/*
 * A pool that outlives its connections. A line that breaks while nobody waits for an
 * answer is an 'error' event, and one that nobody listens to ends the process.
 */
function connect(options) {
	const pool = new Pool(options);
	pool.on('connect', (db) => db.on('error', () => {}));
	pool.on('error', () => {});
	return pool;
}

/*
 * Runs statements(db) in a transaction, until it is committed or the time is over
 * (deadline, in ms since 1970).
 *
 * When the line breaks in the middle of COMMIT nobody knows whether it was
 * committed. It is run again all the same: whatever pay_idem was told, it may be
 * told again. What you add to the transaction must stand that, too.
 */
async function transaction(pool, deadline, statements) {
	for (let pause = 20; ; pause = Math.min(2 * pause, 1000)) {
		let db;
		let broken = false;
		try {
			db = await pool.connect();
			await db.query('BEGIN');
			const result = await statements(db);
			await db.query('COMMIT');
			return result;
		} catch (error) {
			// After an error of a statement the connection is good for the next one.
			broken = !error.severity || AWAY.test(error.code);
			if (db && !broken) await db.query('ROLLBACK').catch(() => { broken = true; });
			if (!isWorthAnotherTry(error) || Date.now() + pause > deadline) throw error;
		} finally {
			if (db) db.release(broken);
		}
		await sleep(pause);
	}
}

module.exports = { connect, transaction, sleep };
