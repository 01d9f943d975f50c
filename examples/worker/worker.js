// A worker for pay_idem: claims what is due, asks the channel, reports what it said.
//
// It keeps nothing to itself. What it claims is its own until the lease is over; what
// it does not report by then is handed out again, to it or to another worker. So it may
// be killed at any moment, any number of them may run, and every task may be done more
// than once: the channel knows our numbers, and pay_idem knows its reports.

'use strict';

const { transaction, sleep } = require('./database');

const CLAIM = `SELECT * FROM pay_claim(worker => $1, max_tasks => $2, lease => make_interval(secs => $3), actions => $4)`;

const REPORT_ATTEMPT = `SELECT decision, pay_no, merchant, order_no, attempt_state FROM pay_callback(channel => $1, callback_id => NULL,
	trade_no => $2, reported => $3, amount => $4, currency => $5, channel_txn => $6)`;

const REPORT_REFUND = `SELECT decision FROM pay_refund_callback(channel => $1, callback_id => NULL, refund_no => $2, reported => $3,
	amount => $4, currency => $5, trade_no => $6, channel_txn => $7, merchant => $8, kind => $9)`;

const STEP = `SELECT decision FROM pay_transition(trade_no => $1, to_state => $2, reason => $3)`;

const HOLD_DONE = `SELECT decision FROM pay_hold_done(trade_no => $1, resource => $2, done => $3)`;

// After this many questions that a channel answers with "no such order" it is told to close it.
const PATIENCE = 4;

/*
 * pool          see connect() in database.js
 * channels      { wechat: { query(task), close(task), ... } }: see channel.js
 * participants  { hotel: { confirm_hold(task), release_hold(task) } }: by the class of what is held
 * leaseS        must be longer than a call to the channel and the report after it
 * slots         so many tasks are done at the same time: a channel that hangs must not hold up the others
 * paid          called in the transaction that pays an order, once per order: do what a paid order needs there
 * claimed       called in the transaction that claims tasks: for your own records, if you want any
 */
class Worker {
	constructor({ pool, name, channels, participants = {}, leaseS = 60, slots = 20, idleMs = 1000, actions = null,
		paid = async () => {}, claimed = async () => {}, log = console.error }) {
		Object.assign(this, { pool, name, channels, participants, leaseS, slots, idleMs, actions, paid, claimed, log });
		this.running = new Set();
		this.stopping = false;
	}

	// Until stop() is called.
	async run() {
		while (!this.stopping) {
			const free = this.slots - this.running.size;
			const tasks = free > 0 ? await this.claim(free) : [];
			for (const task of tasks) {
				const done = this.do(task).finally(() => this.running.delete(done));
				this.running.add(done);
			}
			// As long as there is more than we can take: go on as soon as a slot is free.
			await (tasks.length === free ? Promise.race(this.running) : sleep(this.idleMs));
		}
		await Promise.all(this.running);
	}

	// Claims nothing any more; run() ends when what is under way is done.
	stop() {
		this.stopping = true;
	}

	async claim(maxTasks) {
		try {
			return await transaction(this.pool, 0, async (db) => {
				const { rows } = await db.query(CLAIM, [this.name, maxTasks, this.leaseS, this.actions]);
				if (rows.length > 0) await this.claimed(db, rows);
				return rows;
			});
		} catch (error) {
			this.log(`${this.name}: claim: ${error.message}`);
			return [];		// the server may be away; later
		}
	}

	// Nobody waits for one task, and none may end the others.
	async do(task) {
		const deadline = Date.now() + this.leaseS * 1000;	// later than that it is somebody else's
		try {
			const answer = await this.ask(task);
			// Commit what the channel said before anything else: nothing is locked while it is asked.
			await transaction(this.pool, deadline, (db) => this.report(db, task, answer));
		} catch (error) {
			// The channel did not answer, or not so that it says anything. Not to be reported:
			// nothing is known, and nothing becomes failed by that.
			this.log(`${this.name}: ${task.action} ${task.refund_no ?? task.resource ?? ''} of order ${task.order_no}: ${error.message}`);
		}
	}

	ask(task) {
		const whom = task.resource ? this.participants[task.resource.split(':')[0]] : this.channels[task.channel];
		if (!whom) throw new Error(`nobody to ask: ${task.channel ?? task.resource}`);
		return whom[task.action](task);
	}

	report(db, task, answer) {
		switch (task.action) {
			case 'query':
			case 'close':
			case 'void':
				return this.reportAttempt(db, task, answer);
			case 'submit_refund':
			case 'query_refund':
				return db.query(REPORT_REFUND, [task.channel, task.refund_no, answer.state,
					answer.amount, answer.currency, task.trade_no, answer.channel_txn, task.merchant,
					task.kind === 'chargeback' ? 'chargeback' : 'refund']);
			case 'confirm_hold':
				return db.query(HOLD_DONE, [task.pay_no, task.resource, 'confirmed']);
			case 'release_hold':
				return db.query(HOLD_DONE, [task.pay_no, task.resource, 'released']);
			default:
				throw new Error(`a newer pay_idem? Nothing is known of ${task.action}`);
		}
	}

	async reportAttempt(db, task, answer) {
		if (answer.state === 'not_found') {
			// No failure: the request may still be on its way. But when it has had its time, close it
			// at the channel, so that it cannot be paid any more; then its "closed" is a fact.
			if (task.tries > PATIENCE && ['paying', 'unknown'].includes(task.state)) {
				return db.query(STEP, [task.trade_no, 'closing', 'the channel does not know it: close it there']);
			}
			// Nothing new. Said all the same, so that it is asked again by the channel's schedule.
			answer = { state: task.state, amount: task.amount, currency: task.currency };
		}
		const { rows: [row] } = await db.query(REPORT_ATTEMPT, [task.channel, task.trade_no, answer.state,
			answer.amount, answer.currency, answer.channel_txn]);
		if (row.decision === 'applied' && row.attempt_state === 'paid') await this.paid(db, row);
	}
}

module.exports = { Worker };
