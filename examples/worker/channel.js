// How this worker speaks with a channel: POST with JSON, answered with JSON. Every
// real channel has an API and words of its own: this file is the one to rewrite.
//
// Each function gets a task of pay_claim and gives the channel's answer:
//   attempts   { state, amount, currency, channel_txn }: a state of pay_idem, or not_found
//   refunds    the same, with a refund's state
//   holds      nothing: it was done
// No answer, or one that says nothing, is an error: then nothing is reported, and
// the task comes again when its lease is over.

'use strict';

async function post(url, body, timeoutMs) {
	const response = await fetch(url, {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: JSON.stringify(body),
		signal: AbortSignal.timeout(timeoutMs),
	});
	if (!response.ok) throw new Error(`${url} answers ${response.status}`);
	return response.json();
}

// Someone who moves money. Our numbers are his keys: he must take each of them as
// often as it is sent and act once.
function channel(url, timeoutMs) {
	// The channel's own transaction goes along: PayPal, Mollie and others are asked by theirs.
	const attempt = (what) => (task) => post(`${url}/${what}`, { trade_no: task.trade_no, channel_txn: task.channel_txn }, timeoutMs);
	// A refund is of one transaction, which the task names: money that came twice goes back by the second one.
	const refund = (what) => (task) => post(`${url}/${what}`,
		{ refund_no: task.refund_no, trade_no: task.trade_no, channel_txn: task.channel_txn, amount: Number(task.amount), currency: task.currency,
			merchant: task.merchant }, timeoutMs);
	return {
		query: attempt('query'),
		close: attempt('close'),
		void: attempt('void'),
		submit_refund: refund('refund'),
		// "No such refund": it did not arrive. The same number again is safe, a new one never is.
		query_refund: async (task) => {
			const answer = await refund('query_refund')(task);
			return answer.state === 'not_found' ? refund('refund')(task) : answer;
		},
	};
}

// Someone who keeps what orders hold: rooms, points, tickets. The payment's number
// and the resource are his key.
function participant(url, timeoutMs) {
	const hold = (what) => (task) => post(`${url}/${what}`,
		{ pay_no: task.pay_no, resource: task.resource, quantity: Number(task.quantity) }, timeoutMs);
	return { confirm_hold: hold('confirm'), release_hold: hold('release') };
}

module.exports = { channel, participant };
