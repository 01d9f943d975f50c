// The shop's pages: one of several processes, each with its share of the orders and a
// dozen customers at a time. It may be killed at any moment; when it is there again it
// goes on with the orders that it had begun, as customers do who reload the page.

'use strict';

const fs = require('fs');
const { calls } = require('./calls');
const { ask, between, dice, sleep } = require('./common');
const { script } = require('./script');

const { WORLD_DIR: dir, WORLD_SEED: seed, CHANNEL_PORT: channel, PARTICIPANT_PORT: participant } = process.env;
const me = Number(process.env.CLIENT);
const clients = Number(process.env.CLIENTS);
const lanes = Number(process.env.LANES);
const orders = Number(process.env.ORDERS);	// so many, of all clients

const { prepay, query, giveUp, step, credential, tried, refund, close } = calls(Math.min(lanes, 16));
let stopping = false;
process.on('SIGTERM', () => { stopping = true; });

// ---- what it does when it may go on ----

// The hotel and the points are tried first; one of them may be forgotten, or too late.
async function tryHolds(o, answer, holds) {
	for (const hold of holds ?? []) {
		const [resource, quantity = '1'] = hold.split('#');
		if (!/^(hotel|points):/.test(resource)) continue;
		const fate = o.d('try', resource, answer.trade_no.length);
		const body = { pay_no: answer.pay_no, resource, quantity: Number(quantity) };
		const work = async () => {
			if ((await ask(participant, 'try', body))?.state !== 'tried') return;
			if ((await tried(answer.pay_no, resource)).decision !== 'closed') return;
			while (!await ask(participant, 'release', { ...body, giving_back: true })) await sleep(200);
		};
		if (fate < 0.1) continue;
		if (fate < 0.25) later(between(fate / 0.25, 2000, 8000), work);
		else await work();
	}
}

const coming = new Set();
function later(ms, work) {
	const promise = sleep(ms).then(work).finally(() => coming.delete(promise));
	coming.add(promise);
}

async function toChannel(o, answer, method, holds) {
	await tryHolds(o, answer, holds);
	const told = await ask(channel, 'pay',
		{ trade_no: answer.trade_no, subject: `${o.merchant}/${o.order_no}`, merchant: o.merchant, method, amount: o.amount, currency: o.currency });
	if (!told) {
		if (o.d('no answer', answer.trade_no.length) < 0.4) await step(answer.trade_no, 'unknown', 'the channel did not answer');
	} else if (told.state === 'paying') {
		await credential(answer.trade_no, told.credential, '5 s');
	} else if (told.state === 'failed') {
		await step(answer.trade_no, 'failed', 'the channel refused it');
	}
}

// A click, or two at the same instant. The one that may go on goes to the channel.
async function click(o, how) {
	const twice = o.d('twice', how.request_id) < 0.3;
	const answers = await Promise.all([prepay(o, how), ...(twice ? [prepay(o, how)] : [])]);
	const answer = answers.find((a) => a.decision === 'proceed') ?? answers[0];
	if (answer.decision === 'proceed') await toChannel(o, answer, how.method, how.holds);
	return answer;
}

// ---- what customers do ----

// Looks at the page for a while, until something is settled.
async function watch(o, ms) {
	for (const until = Date.now() + ms; ;) {
		const now = await query(o);
		if (['paid', 'closed', 'reversed', 'failed', 'authorized'].includes(now.state) || Date.now() > until || stopping) return now;
		await sleep(between(Math.random(), 150, 400));
	}
}

// The card is good for the money; the shop takes it.
async function capture(o, trade_no) {
	await sleep(between(o.d('packs'), 0, 1500));
	if ((await step(trade_no, 'capturing', 'packed')).decision === 'applied') await ask(channel, 'capture', { trade_no, amount: o.amount });
}

// Some send the goods back, all or in parts, and the clerk clicks twice; at one desk each
// click has a number of its own.
async function sendBack(o, pay_no) {
	for (const [n, part] of o.parts.entries()) {
		const refund_no = `back-${o.merchant}-${o.order_no}-${n}`;
		const click = (number) => refund(pay_no, number, Math.floor(o.amount * part), o.currency);
		await Promise.all([click(refund_no), click(o.desk ? `${refund_no}-again` : refund_no)]);
	}
}

const PATIENCE = 6;		// so many times he presses the button

async function play(o) {
	let { holds } = o;
	let confirm = false;
	let { replaces } = o;
	for (let request = 1, press = 0; press < PATIENCE && !stopping; press++) {
		const answer = await click(o, { request_id: `r${request}`, method: o.method(request), holds, confirm, replaces });
		switch (answer.decision) {
			case 'confirm':
				if (o.d('meant the other') < 0.3) return;
				confirm = true;
				continue;
			case 'unavailable':
				// without the coupon then, or once more
				if (o.d('without', press) < 0.6) holds = null;
				request++;
				await sleep(300);
				continue;
			case 'already_paid':
				if (answer.state === 'paid') await sendBack(o, answer.pay_no);
				return;
			case 'closed':
			case 'throttled':
				return;
			case 'PY404':		// the order to replace was never made
			case 'PY409':		// this order was begun before: too late to replace another
				replaces = null;
				continue;
		}
		const now = await watch(o, 3500);
		if (now.state === 'authorized') {
			await capture(o, now.trade_no);
		} else if (now.state === 'failed') {
			request++;
		} else if (now.state !== 'paid' && now.pay_no) {
			const mood = o.d('mood', press);
			if (mood < 0.2) await giveUp(o, 'the customer cancels');
			else if (mood < 0.35) await step(now.trade_no, 'closing', 'the customer wants to pay otherwise');
			else if (mood < 0.5) return;
			else if (mood < 0.8) request++;		// another method, where that is allowed
		}
	}
}

// Another tab, in which a customer of the next process clicks on an order of ours.
async function otherTab(k) {
	const o = script(seed, k, clients);
	if (k < 1 || o.replaces) return;
	await click(o, { request_id: 'other tab', method: o.method('other tab'), holds: o.holds, confirm: true });
}

// ---- the day ----

const begun = new Set();
let last = me;
const diary = `${dir}/client-${me}`;
for (const line of fs.existsSync(diary) ? fs.readFileSync(diary, 'utf8').split('\n').slice(0, -1) : []) {
	const [what, k] = line.split(' ');
	begun[what === 'begins' ? 'add' : 'delete'](Number(k));
	last = Math.max(last, Number(k));
}
const open = [...begun];

async function lane() {
	while (!stopping) {
		const k = open.shift() ?? (last += clients);
		if (k >= orders) return;
		fs.appendFileSync(diary, `begins ${k}\n`);
		if (dice(seed, 'other tab', k) < 0.15) later(between(dice(seed, 'other tab', k, 'when'), 0, 2000), () => otherTab(k - 1));
		await play(script(seed, k, clients));
		fs.appendFileSync(diary, `ends ${k}\n`);
	}
}

Promise.all(Array.from({ length: lanes }, lane))
	.then(async () => { while (coming.size > 0) await Promise.all([...coming]); })
	.then(close);
