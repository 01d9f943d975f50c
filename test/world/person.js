// The one who looks at the reviews. She asks the channel, and decides by what it says.

'use strict';

const { connect, transaction } = require('../../examples/worker/database');
const { ask, complain, sleep } = require('./common');
const { paid } = require('./records');

const channel = process.env.CHANNEL_PORT;
const pool = connect({ max: 2, user: 'world_person', connectionTimeoutMillis: 1000 });
let stopping = false;
process.on('SIGTERM', () => { stopping = true; });

const run = (text, values = []) => transaction(pool, 0, async (db) => (await db.query(text, values)).rows);

// Too early for this one: the next round. The server is away: too.
async function attempt(text, values) {
	try {
		await transaction(pool, 0, async (db) => {
			const { rows: [row] } = await db.query(text, values);
			if (row.decision === 'applied' && row.attempt_state === 'paid') await paid(db, row, 'person');
		});
		return true;
	} catch (error) {
		if (error.code?.startsWith('PY') && error.code !== 'PY409') complain(`${text} ${JSON.stringify(values)}: ${error.message}`);
		return false;
	}
}

const resolve = (review_id, verdict, reason) => attempt(
	'SELECT decision FROM pay_review_resolve(review_id => $1, verdict => $2, reason => $3)', [review_id, verdict, reason]);

const OPEN = ['paying', 'authorized', 'capturing', 'unknown', 'closing'];

async function look(review) {
	const { review_id, kind, refund_no, trade_no, attempt_state, refund_state, merchant, channel_txn } = review;
	if (kind === 'adopted') return resolve(review_id, 'accept', 'the bank\'s statement says so, too');
	if (kind === 'overdrawn') return resolve(review_id, 'accept', 'it is lost, with the fee');
	if (kind === 'returned') return giveBackAgain(review);
	if (kind === 'mismatch' && !refund_no && attempt_state === 'paid' && ['failed', 'reversed'].includes(review.reported)) {
		const { bounced } = await ask(channel, 'query', { trade_no }) ?? {};
		if (bounced === undefined) return undefined;
		return resolve(review_id, bounced ? 'accept' : 'dismiss', bounced ? 'the debit bounced' : 'that was before it was paid');
	}
	if (kind === 'twin') {
		const whose = await ask(channel, 'whose', { channel_txn: channel_txn ?? refund_no });
		return whose && resolve(review_id, whose.refund_no ? 'same' : 'accept', 'asked by telephone');
	}
	if (kind === 'exhausted' && !refund_no) {
		if (!OPEN.includes(attempt_state)) return resolve(review_id, 'dismiss', 'it is over');
		const said = await ask(channel, attempt_state === 'closing' ? 'close' : 'query', { trade_no });
		if (!said || said.state === attempt_state || said.state === 'paying') return undefined;
		return attempt('SELECT decision, merchant, order_no, attempt_state FROM pay_transition(trade_no => $1, to_state => $2, reason => $3, channel_txn => $4)',
			[trade_no, said.state === 'not_found' ? 'closing' : said.state, 'asked by telephone', said.channel_txn]);
	}
	if (!refund_no) return undefined;
	const said = await ask(channel, 'query_refund', { refund_no, trade_no });
	if (!said) return undefined;
	if (said.state === refund_state) return kind === 'abnormal' && said.state === 'abnormal' ? undefined : resolve(review_id, 'dismiss', 'the channel says the same by now');
	if (kind === 'mismatch') return said.state === review.refund_reported ? resolve(review_id, 'accept', 'the channel is right') : undefined;
	if (kind === 'exhausted' && said.state === 'not_found') return callOff(review);
	if (refund_state && ['succeeded', 'failed'].includes(said.state)) {
		return attempt('SELECT decision FROM pay_refund_transition(refund_no => $1, to_state => $2, reason => $3, channel_txn => $4, merchant => $5)',
			[refund_no, said.state, 'asked by telephone', said.channel_txn, merchant]);
	}
	return undefined;
}

// It was never sent, and is not to be: there is nothing left to send.
const callOff = ({ refund_no, merchant }) => attempt(
	'SELECT decision FROM pay_refund_transition(refund_no => $1, to_state => $2, reason => $3, merchant => $4)',
	[refund_no, 'failed', 'the bank took it, nothing is left', merchant]);

// Money is with the shop again. What the order does not need goes back once more.
async function giveBackAgain({ review_id, trade_no, is_winner, refundable }) {
	if (!is_winner && refundable > 0) {
		const asked = await attempt('SELECT decision FROM pay_refund(trade_no => $1, refund_no => $2, amount => $3, reason => $4, confirm => true)',
			[trade_no, `again-${trade_no}-${review_id}`, refundable, `review ${review_id}`]);
		if (!asked) return undefined;
	}
	return resolve(review_id, 'accept', is_winner ? 'the customer has another account, and will say which' : 'sent again');
}

// What waits because more left than came: it goes by what the channel has of it.
async function settleHeldBack(refund) {
	const said = await ask(channel, 'query_refund', refund);
	if (said?.state === 'not_found') await callOff(refund);
}

// What the channel refused: money that the order does not need must go, a customer's refund sometimes is tried again.
const tried = new Map();
const mustGo = (refund_no, kind) => kind === 'surplus' || refund_no.startsWith('again-');
async function tryAgain({ refund_no, kind, merchant }) {
	const times = tried.get(refund_no) ?? 0;
	if (times >= (mustGo(refund_no, kind) ? 10 : 2)) return;
	tried.set(refund_no, times + 1);
	await attempt('SELECT decision FROM pay_refund_transition(refund_no => $1, to_state => $2, reason => $3, merchant => $4)',
		[refund_no, 'requested', 'once more', merchant]);
}

async function rounds() {
	while (!stopping) {
		try {
			for (const review of await run(
				`SELECT v.review_id, v.kind, v.refund_no, replace(t.trade_no::text, '-', '') AS trade_no, t.state::text AS attempt_state,
					r.state::text AS refund_state, coalesce(p.merchant, v.merchant) AS merchant, v.channel_txn, v.reported::text AS reported, v.refund_reported::text AS refund_reported,
					p.winner = v.attempt IS TRUE AS is_winner,
					greatest(t.amount_collected - coalesce(t.amount_reserved, 0) - coalesce(t.amount_refunded, 0), 0)::integer AS refundable
				FROM pay_review v LEFT JOIN pay_payment p USING (pay_no) LEFT JOIN pay_attempt t ON t.pay_no = v.pay_no AND t.attempt = v.attempt
					LEFT JOIN pay_refund r ON r.merchant = p.merchant AND r.refund_no = v.refund_no
				WHERE v.resolved_at IS NULL`)) await look(review);
			for (const refund of await run(
				`SELECT r.refund_no, r.kind, r.merchant FROM pay_refund r JOIN pay_attempt t USING (pay_no, attempt)
				WHERE r.state = 'failed' AND r.kind IN ('refund', 'surplus') AND NOT r.adopted
					AND r.amount <= t.amount_collected - coalesce(t.amount_reserved, 0) - coalesce(t.amount_refunded, 0)`)) await tryAgain(refund);
			for (const refund of await run(
				`SELECT r.refund_no, r.merchant, replace(t.trade_no::text, '-', '') AS trade_no
				FROM pay_refund r JOIN pay_attempt t USING (pay_no, attempt)
				WHERE r.state = 'requested' AND t.amount_overdrawn > 0`)) await settleHeldBack(refund);
		} catch {
			// the server is away
		}
		await sleep(400);
	}
	await pool.end();
}

rounds();
