// Before the world goes wrong: what must have happened in it happens, step by step, to
// orders of this script's own. Nothing is lost or late here, and nobody is killed; the
// channel does what the script says. What may take a while is waited for, however long.
//
// purpose.js alone|together [NAME...]: the scripts that want no worker beside them, or
// those that do; these ones, or all.

'use strict';

const { connect, transaction } = require('../../examples/worker/database');
const { calls } = require('./calls');
const { ask, complain, sleep } = require('./common');
const { claimed } = require('./records');

const { CHANNEL_PORT: channel, PARTICIPANT_PORT: participant } = process.env;
const [kind, ...chosen] = process.argv.slice(2);
const { prepay, step, credential, tried, refund, close } = calls(8);
const overseer = connect({ max: 4 });
const worker = connect({ max: 2, user: 'world_worker' });

// ---- what the scripts are made of ----

async function until(what, holds) {
	for (const end = Date.now() + 180000; !await holds(); await sleep(50)) {
		if (Date.now() > end) throw new Error(`${what}: not within three minutes`);
	}
}

// Asks as often as it takes to be answered.
async function sure(port, name, body) {
	let answer;
	while (!(answer = await ask(port, name, body, 60000))) await sleep(100);
	return answer;
}

const find = async (text, values) => (await overseer.query(text, values)).rows[0];
const stateOf = async (trade_no) => (await find('SELECT state::text FROM pay_attempt WHERE trade_no = $1', [trade_no]))?.state;
const refundState = async (refund_no) => (await find('SELECT state::text FROM pay_refund WHERE refund_no = $1', [refund_no]))?.state;
const becomes = (trade_no, state) => until(`${trade_no} ${state}`, async () => await stateOf(trade_no) === state);
const refundBecomes = (refund_no, state) => until(`${refund_no} ${state}`, async () => await refundState(refund_no) === state);
const does = (trade_no, what, refund_no) => sure(channel, 'does', { trade_no, what, refund_no });

const order = (name, more) => ({ order_no: `P-${name.replaceAll(' ', '-')}`, merchant: '', amount: 2000, currency: 'CNY', payer: null, multi: false, valid_for: null, ...more });

// What is answered otherwise is complained of; the script goes on by the answer all the same.
function isAnswered(o, what, answer, expected) {
	if (answer.decision !== expected) complain(`${what} of order ${o.order_no} is answered ${answer.decision}, not ${expected}`);
	return answer.decision;
}

async function opens(o, how = {}, expected = 'proceed') {
	const answer = await prepay(o, { method: 'qr', request_id: 'r1', holds: null, ...how });
	isAnswered(o, 'prepay', answer, expected);
	return answer;
}

// Opens an attempt and sends it to the channel; more: what the channel is to know of it. Its number.
async function sends(o, how = {}, more = {}) {
	const { decision, trade_no } = await opens(o, how);
	if (decision !== 'proceed') return undefined;
	const { amount, currency, merchant, order_no } = o;
	const told = await sure(channel, 'pay', { trade_no, subject: `/${order_no}`, merchant, method: how.method ?? 'qr', amount, currency, ...more });
	await credential(trade_no, told.credential, '1 day');
	return trade_no;
}

async function pays(o, how, more) {
	const trade_no = await sends(o, how, more);
	await does(trade_no, 'paid');
	await becomes(trade_no, 'paid');
	return trade_no;
}

const sendsBack = async (o, trade_no, n, amount) => {
	const refund_no = `back--${o.order_no}-${n}`;
	isAnswered(o, 'refund', await refund(trade_no, refund_no, amount, o.currency), 'proceed');
	return refund_no;
};

async function givesBack(o, trade_no, n, amount) {
	const refund_no = await sendsBack(o, trade_no, n, amount);
	await refundBecomes(refund_no, 'succeeded');
	return refund_no;
}

// The order, with its attempt.
async function ends(o, trade_no, state) {
	const { pay_no } = await find('SELECT pay_no FROM pay_attempt WHERE trade_no = $1', [trade_no]);
	isAnswered(o, 'closing', await step(pay_no, 'closing', 'the customer cancels'), 'applied');
	await becomes(trade_no, state);
}

// The participant's try, and the word that it was done.
async function tries(pay_no, ...resources) {
	for (const resource of resources) {
		await sure(participant, 'try', { pay_no, resource, quantity: 1 });
		await tried(pay_no, resource);
	}
}

// What a worker is handed of all there is, as soon as this attempt is among it.
async function claims(name, leaseS, trade_no) {
	let tasks;
	await until(`${name} is handed ${trade_no}`, async () => {
		tasks = await claimsOnce(name, leaseS);
		return tasks.some((task) => task.trade_no === trade_no);
	});
}

const claimsOnce = (name, leaseS) => transaction(worker, Date.now() + 600000, async (db) => {
	const { rows } = await db.query('SELECT * FROM pay_claim(worker => $1, max_tasks => 100, lease => make_interval(secs => $2))', [name, leaseS]);
	if (rows.length > 0) await claimed(db, name, leaseS, rows);
	return rows;
});

// What hours or days are given to is over by now; workers find so when its time has come.
const timePasses = () => transaction(overseer, 0, async (db) => {
	await db.query('SET LOCAL session_replication_role = replica');
	await db.query("UPDATE pay_task SET due_at = now() WHERE due_at > now() + interval '10 minutes'");
});

// ---- without workers, so that nobody brings what he was told of before ----

const alone = {
	// what one was handed another is not, however soon he asks; it ends by a message
	'two workers ask': async (o) => {
		const trade_no = await sends(o);
		await claims('one', 3600, trade_no);
		await claimsOnce('another', 3600);
		await does(trade_no, 'paid');
		await becomes(trade_no, 'paid');
	},
	// he was told to ask, and is gone; and no message will come
	'a worker dies': async (o) => {
		const trade_no = await sends(o);
		await claims('one who dies', 1, trade_no);
		await does(trade_no, 'paid, and nobody is told');
	},
	'paid': async (o) => {
		const trade_no = await sends(o);
		await opens(o, { request_id: 'r2' }, 'in_progress');
		await does(trade_no, 'paid');
		await becomes(trade_no, 'paid');
		await opens(o, { request_id: 'r2' }, 'already_paid');
	},
	// a worker asks for longer than it may take, and hears nothing; then it failed
	'times out': async (o) => {
		const trade_no = await sends(o, { method: 'slow' });
		await until('the timeout', async () => {
			await claimsOnce('one who waits', 2);
			return await stateOf(trade_no) !== 'paying';
		});
		await opens(o, { request_id: 'r2' }, 'unknown');
		await does(trade_no, 'failed');
	},
	// what was said comes back
	'comes back': async (o) => {
		const trade_no = await pays(o);
		const refund_no = await sendsBack(o, trade_no, 0, o.amount);
		await claims('one who sends', 1, trade_no);
		await sure(channel, 'refund', { refund_no, trade_no, channel_txn: `T${trade_no.slice(-18)}`, amount: o.amount, merchant: '' });
		await refundBecomes(refund_no, 'succeeded');
		await does(trade_no, 'return', refund_no);
		await refundBecomes(refund_no, 'returned');
	},
	'wins the dispute': async (o) => {
		const trade_no = await pays(o);
		await does(trade_no, 'charge back');
		await does(trade_no, 'lose');
		await does(trade_no, 'win');
	},
	// the message of the authorization comes late; then somebody asks for the capture again, before anybody asks the channel
	'captured': async (o) => {
		const trade_no = await sends(o, { method: 'card' });
		const capture = { trade_no, amount: o.amount };
		await does(trade_no, 'authorized');
		await becomes(trade_no, 'authorized');
		isAnswered(o, 'capture', await step(trade_no, 'capturing', 'packed'), 'applied');
		await sure(channel, 'capture', capture);
		await does(trade_no, 'tell');
		if (isAnswered(o, 'another capture', await step(trade_no, 'capturing', 'packed again'), 'unchanged') === 'applied') await sure(channel, 'capture', capture);
		await does(trade_no, 'paid');
		await becomes(trade_no, 'paid');
	},
};

// ---- with workers ----

const together = {
	'failed at first': async (o) => {
		const trade_no = await sends(o);
		await does(trade_no, 'failed');
		await becomes(trade_no, 'failed');
		await pays(o, { request_id: 'r2' });
	},
	'paid twice': async () => {
		const o = order('paid twice', { multi: true });
		const first = await sends(o);
		const second = await sends(o, { request_id: 'r2' });
		await does(first, 'paid');
		await becomes(first, 'paid');
		await does(second, 'paid');
		await becomes(second, 'paid');
	},
	'closed': async (o) => {
		await ends(o, await sends(o), 'closed');
		await opens(o, { request_id: 'r2' }, 'closed');
	},
	'voided': async (o) => {
		const trade_no = await sends(o, { method: 'card' });
		await does(trade_no, 'authorized');
		await becomes(trade_no, 'authorized');
		await ends(o, trade_no, 'reversed');
	},
	'looks alike': async (o) => {
		const payer = { payer: 'P-payer', amount: 7000 };
		await pays(order('meant', payer));
		const other = order(o.order_no.slice(2), payer);
		await opens(other, {}, 'confirm');
		await pays(other, { confirm: true });
	},
	// without it, then; whoever is told to go on pays
	'one coupon for two': async () => {
		const coupon = { valid_for: '1 day' };
		const spends = order('spends a coupon', coupon);
		const wants = order('wants that coupon', coupon);
		await pays(spends, { holds: ['coupon:P-C1'] });
		const { decision, trade_no } = await prepay(wants, { method: 'qr', request_id: 'r1', holds: ['coupon:P-C1'] });
		if (isAnswered(wants, 'prepay', { decision }, 'unavailable') === 'unavailable') {
			await pays(wants, { request_id: 'r2' });
			return;
		}
		await sure(channel, 'pay', { trade_no, subject: `/${wants.order_no}`, merchant: '', method: 'qr', amount: wants.amount, currency: wants.currency });
		await does(trade_no, 'paid');
	},
	'gives a coupon back': async () => {
		const o = order('gives a coupon back', { valid_for: '1 day' });
		await ends(o, await sends(o, { holds: ['coupon:P-C2', 'stock:P-S#2'] }), 'closed');
	},
	'takes a room': async () => {
		const o = order('takes a room', { valid_for: '1 day' });
		const { pay_no, trade_no } = await opens(o, { holds: ['hotel:P-G', 'hotel:P-H'] });
		await tries(pay_no, 'hotel:P-G', 'hotel:P-H');
		await sure(channel, 'pay', { trade_no, subject: `/${o.order_no}`, merchant: '', method: 'qr', amount: o.amount, currency: o.currency });
		await does(trade_no, 'paid');
		await becomes(trade_no, 'paid');
	},
	'gives rooms back': async () => {
		const o = order('gives rooms back', { valid_for: '1 day' });
		const { pay_no, trade_no } = await opens(o, { holds: ['hotel:P-I', 'hotel:P-J'] });
		await tries(pay_no, 'hotel:P-I', 'hotel:P-J');
		await ends(o, trade_no, 'closed');
	},
	'replaced': async (o) => {
		const trade_no = await sends(o);
		await pays(order('in its place'), { replaces: o.order_no });
		await becomes(trade_no, 'closed');
		await opens(o, { request_id: 'r2' }, 'closed');
	},
	'sent back in parts': async (o) => {
		const trade_no = await pays(o);
		await givesBack(o, trade_no, 0, 600);
		await givesBack(o, trade_no, 1, 1000);
	},
	// the channel takes its time
	'sent back slowly': async (o) => {
		const trade_no = await pays(o, {}, { slow: true });
		const refund_no = await sendsBack(o, trade_no, 0, 600);
		await refundBecomes(refund_no, 'processing');
		await until('a worker asks', async () => await find("SELECT FROM world.claimed WHERE action = 'query_refund' AND refund_no = $1", [refund_no]));
		await does(trade_no, 'refund', refund_no);
	},
	'charged back': async (o) => {
		const trade_no = await pays(o);
		await givesBack(o, trade_no, 0, 1000);
		await does(trade_no, 'charge back');
		await does(trade_no, 'lose');
	},
	'bounces': async (o) => {
		await does(await pays(o), 'bounce');
	},
	// the channel calls the refund by its own number: before anything is known of that, and after
	'two names': async (o) => {
		await givesBack(o, await pays(o, {}, { itself: 'first' }), 0, 600);
	},
	'another name': async (o) => {
		const trade_no = await pays(o, {}, { itself: 'later' });
		await givesBack(o, trade_no, 0, 600);
		await does(trade_no, 'tell');
	},
};

async function main() {
	const scripts = Object.entries({ alone, together }[kind]).filter(([name]) => chosen.length === 0 || chosen.includes(name));
	const play = async ([name, script]) => {
		try {
			await script(order(name));
		} catch (error) {
			complain(`${name}: ${error.stack}`);
		}
	};
	// one who claims is handed the others' tasks, too
	if (kind === 'alone') for (const script of scripts) await play(script);
	else await Promise.all(scripts.map(play));
	await timePasses();
	await Promise.all([overseer.end(), worker.end(), close()]);
}

main();
