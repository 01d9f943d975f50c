// The channel: moves the money of the world, and is as unreliable as real ones are.
//
// It answers pay, capture, query, close, void, refund and query_refund, and tells the
// shop by messages what became of them: late, twice or never; some refunds by a number
// of its own. Banks take money back, with a fee, and give it back again; debits bounce. Its ledger is the truth: what it says there has
// happened, whoever heard of it.

'use strict';

const { ask, between, complain, dice, Faulty, isScripted, Ledger, LOST, pick, serve, sleep } = require('./common');

const seed = process.env.WORLD_SEED;
const shops = process.env.SHOP_PORTS.split(' ');
const faulty = new Faulty(`${seed} channel`);
const { future } = faulty;
const roll = (...about) => dice(seed, 'channel', ...about);

// ---- the ledger ----

const trades = new Map();
const refunds = new Map();
const refundsOf = new Map();	// trade_no: its refunds
const untold = new Map();		// message id: message
const told = new Set();			// messages that have arrived
const tradesOf = new Map();		// subject: how many
let messages = 0;

function apply(entry) {
	switch (entry.op) {
		case 'trade': {
			const known = trades.get(entry.trade_no);
			if (!known) {
				entry.nth = tradesOf.get(entry.subject) ?? 0;
				tradesOf.set(entry.subject, entry.nth + 1);
				entry.opened_at = entry.at;
			}
			trades.set(entry.trade_no, { ...known, ...entry, ended: known?.ended || ENDED.includes(known?.state) });
			break;
		}
		case 'refund': {
			const known = refunds.get(entry.refund_no);
			if (!known) refundsOf.set(entry.trade_no, [...refundsOf.get(entry.trade_no) ?? [], entry.refund_no]);
			refunds.set(entry.refund_no, { ...known, ...entry });
			break;
		}
		case 'message':
			untold.set(entry.message.id, entry.message);
			messages++;
			break;
		case 'told':
			told.add(untold.get(entry.id));
			untold.delete(entry.id);
			break;
	}
}

const ENDED = ['failed', 'closed', 'reversed', 'paid'];
const ledger = new Ledger(`${process.env.WORLD_DIR}/channel.ledger`, apply);

// ---- messages to the shop ----

async function deliver(message, times = 0) {
	if (!untold.has(message.id)) return;
	const answer = await ask(shops[(times + Number(message.id.slice(1))) % shops.length], 'notify', message, 1500);
	if (answer?.ok) {
		if (!untold.has(message.id)) return;
		ledger.write({ op: 'told', id: message.id });
		goOn(message);
	} else {
		future.later(between(roll(message.id, times), 200, 1000), () => deliver(message, times + 1));
	}
}

// What undoes something comes after the news of it has arrived, and not at once: who was
// told of it otherwise at the same time has said so by then.
function goOn({ about, state, trade_no, ours }) {
	if (about === 'payment' && state === 'paid') mayBounce(trade_no);
	if (about === 'refund' && state === 'succeeded') mayReturn(ours);
}

function undo(after, what) {
	const begin = Date.now();
	if (!future.hurried) future.later(3000 + after, () => { if (Date.now() - begin > 2500) what(); });
}

// Of such a refund it is told when the script says so.
const isHeldBack = ({ about, trade_no }) => about === 'refund' && trades.get(trade_no).itself === 'later';

// Write an entry together with the message about it, and tell it. Some messages come late or
// twice, some never, if somebody will ask about it anyway (canBeLost).
function writeAndTell(entry, message, canBeLost) {
	const trade = trades.get(message.trade_no);
	const fate = roll(message.trade_no, message.refund_no, message.state, 'message');
	message.merchant ??= trade?.merchant;
	if (!isScripted(trade) && canBeLost && fate < 0.12 && !future.hurried) {
		ledger.write(entry);
		return;
	}
	message.id = `n${messages + 1}`;
	message.occurred_at = new Date().toISOString();
	ledger.write(entry, { op: 'message', message });
	if (isScripted(trade)) {
		if (!isHeldBack(message)) deliver(message);
		return;
	}
	future.later(fate < 0.3 ? between(fate / 0.3, 800, 3000) : between(fate, 0, 300), () => deliver(message));
	if (fate > 0.8) {
		const again = () => ask(shops[0], 'notify', message, 1500);
		future.later(between(fate, 0, 500), again);
		future.later(between(fate, 0, 3000), again);
	}
}

// ---- trades ----

// What the customer will do: [after ms, what happens then]. Late is what happens after the end.
function plan(trade) {
	const p = (...about) => roll(trade.subject, trade.nth, ...about);
	if (isScripted(trade)) return [];
	if (trade.method === 'card') {
		return pick(p('plan'), [
			[0.7, [[between(p('t'), 50, 800), 'authorized'], [6000, 'reversed']]],
			[0.8, [[between(p('t'), 50, 800), 'failed']]],
			[0.9, [[between(p('t'), 2000, 4000), 'authorized'], [8000, 'reversed']]],
			[1, [[between(p('t'), 1000, 5000), 'closed']]]]);
	}
	return pick(p('plan'), [
		[0.4, [[between(p('t'), 50, 1000), 'paid']]],
		[0.52, [[between(p('t'), 2000, 5000), 'paid']]],
		[0.64, [[between(p('t'), 100, 800), 'failed']]],
		[0.78, [[between(p('t'), 100, 800), 'failed'], [between(p('u'), 1500, 5000), 'paid']]],
		[0.87, [[6000, 'closed']]],
		[0.93, [[between(p('t'), 500, 2000), 'closed']]],
		[1, [[between(p('t'), 500, 2000), 'closed'], [between(p('u'), 3000, 5000), 'paid']]]]);
}

const POSSIBLE = {		// by itself, or because the customer does something
	open: ['authorized', 'paid', 'failed', 'closed'],
	authorized: ['reversed'],
	capturing: ['paid'],
	failed: ['paid'],
	closed: ['paid'],
};

function setTrade(trade, state, more = {}) {
	// he who asks again and again will hear of it; of what comes after the end only a message tells
	const canBeLost = !trade.ended && !ENDED.includes(trade.state);
	const txn = state === 'paid' ? `T${trade.trade_no.slice(-18)}` : trade.txn;
	const entry = { op: 'trade', trade_no: trade.trade_no, state, ...(txn && { txn }), ...more };
	if (['authorized', 'paid', 'failed', 'closed', 'reversed'].includes(state)) {
		writeAndTell(entry, { about: 'payment', trade_no: trade.trade_no, state, amount: trade.amount, currency: trade.currency, channel_txn: txn }, canBeLost);
	} else {
		ledger.write(entry);
	}
	if (state === 'paid') mayChargeBack(trade.trade_no);
}

// What is planned for a trade still comes, also when the channel was killed in between.
function follow(trade_no) {
	const trade = trades.get(trade_no);
	if (trade.late && trade.state === 'closed') future.later(trade.late, () => happen(trade_no, 'paid'));
	if (trade.state === 'capturing' && !isScripted(trade)) {
		const p = roll(trade.subject, trade.nth, 'capture');
		const isTold = () => future.hurried || ![...untold.values()].some((m) => m.trade_no === trade_no && m.state === 'authorized');
		const settle = () => (isTold() ? happen(trade_no, 'paid') : future.later(200, settle));
		future.later(p < 0.5 ? between(p / 0.5, 100, 1000) : between(p, 2000, 4000), settle);
	}
	if (trade.asked_to_end || !trade.method) return;
	plan(trade).forEach(([after, state], step) => {
		if (step >= (trade.steps ?? 0)) {
			future.later(trade.opened_at + after - Date.now(), () => happen(trade_no, state, step));
		}
	});
}

function happen(trade_no, state, step) {
	const trade = trades.get(trade_no);
	if (!POSSIBLE[trade.state]?.includes(state)) return;
	if (step !== undefined && (trade.asked_to_end || step !== (trade.steps ?? 0))) return;
	setTrade(trade, state, step === undefined ? {} : { steps: step + 1 });
}

const answerOf = (trade) => trade.amount === undefined
	? { state: trade.state }
	: { bounced: refunds.has(`${trade.trade_no}b`), state: trade.state === 'open' ? 'paying' : trade.state, amount: trade.amount, currency: trade.currency, channel_txn: trade.txn };

function pay({ trade_no, subject, merchant, method, amount, currency, itself, slow }) {
	let trade = trades.get(trade_no);
	if (!trade) {
		ledger.write({ op: 'trade', trade_no, subject, merchant, method, amount, currency, state: 'open', itself, slow });
		trade = trades.get(trade_no);
		if (roll(subject, trade.nth, 'refused') < 0.05 && !isScripted(trade)) setTrade(trade, 'failed', { asked_to_end: true });
		follow(trade_no);
	} else if (trade.amount !== undefined && (trade.amount !== amount || trade.subject !== subject)) {
		complain(`${trade_no} is sent again with other content`);
	}
	return { ...answerOf(trades.get(trade_no)), credential: `pay ${trade_no}` };
}

function capture({ trade_no, amount }) {
	const trade = trades.get(trade_no);
	if (trade) ledger.write({ op: 'capture', trade_no, amount });
	if (trade?.state === 'authorized' && amount === trade.amount) {
		setTrade(trade, 'capturing');
		follow(trade_no);
		tellOfAuthorization(trade);
	}
	return trade ? answerOf(trades.get(trade_no)) : { state: 'not_found' };
}

// The message of the authorization itself comes when the capture has been asked for.
function tellOfAuthorization(trade) {
	const message = { id: `n${messages + 1}`, about: 'payment', trade_no: trade.trade_no, state: 'authorized', amount: trade.amount, currency: trade.currency,
		merchant: trade.merchant, occurred_at: new Date(trade.opened_at).toISOString() };
	ledger.write({ op: 'message', message });
	future.later(isScripted(trade) ? 0 : between(roll(trade.trade_no, 'late authorization'), 100, 600), () => deliver(message));
}

const query = ({ trade_no }) => trades.has(trade_no) ? answerOf(trades.get(trade_no)) : { state: 'not_found' };

// Closing what has not arrived keeps it from ever arriving.
function end(trade_no, how) {
	const trade = trades.get(trade_no);
	if (!trade) {
		ledger.write({ op: 'trade', trade_no, state: how, asked_to_end: true });
	} else if (trade.state === 'open') {
		// now and then a customer was faster than the channel itself knows yet
		const isLate = how === 'closed' && !isScripted(trade) && roll(trade.subject, trade.nth, 'late') < 0.15;
		setTrade(trade, how, { asked_to_end: true, ...(isLate && !future.hurried && { late: between(roll(trade.subject, 'late'), 300, 2000) }) });
		follow(trade_no);
	} else if (trade.state === 'authorized') {
		setTrade(trade, 'reversed', { asked_to_end: true });
	}
	return answerOf(trades.get(trade_no));
}

// ---- refunds ----

// What is known of it by a message only as yet is not answered.
const answerOfRefund = (act) => (body) => {
	const answer = act(body);
	const hides = trades.get(body.trade_no)?.itself === 'first';
	return hides && [...untold.values()].some((m) => m.ours === body.refund_no) ? LOST : answer;
};

const left = (trade) => (trade.state === 'paid' ? trade.amount : 0)
	- (refundsOf.get(trade.trade_no) ?? []).map((no) => refunds.get(no))
		.reduce((sum, r) => sum + (['failed', 'returned'].includes(r.state) ? 0 : r.amount), 0);

// Some refunds are called by the channel's own number, in whatever it says of them.
const callsItself = (refund_no, trade) => (isScripted(trade) ? trade.itself : roll(refund_no, 'own number') < 0.3);
const transactionOf = (refund_no) => `R${refund_no}`;

function setRefund(refund_no, state, more = {}) {
	const known = refunds.get(refund_no);
	const trade = trades.get(known?.trade_no ?? more.trade_no);
	// the failure of an earlier try may still be on its way, and who hears of it last will not ask again
	const canBeLost = known?.state === 'processing' && known.tries === 1;
	const itself = known?.itself ?? more.itself;
	const entry = { op: 'refund', refund_no, state, ...more, ...((state === 'succeeded' || itself) && { txn: transactionOf(refund_no) }) };
	const { kind, merchant, amount, txn } = { ...known, ...entry };
	writeAndTell(entry, { about: 'refund', kind, merchant, ours: refund_no, refund_no: itself ? txn : refund_no, trade_no: trade.trade_no, state, amount, currency: trade.currency,
		channel_txn: txn }, canBeLost);
}

// The bank of the customer knows him no longer, or a dispute is won after all: the money comes back.
function mayReturn(refund_no) {
	const { kind, won, trade_no } = refunds.get(refund_no);
	if (isScripted(trades.get(trade_no)) || (kind === 'chargeback' ? !won : roll(refund_no, 'returned') >= 0.08)) return;
	undo(between(roll(refund_no, 'when'), 0, 2000), () => {
		if (refunds.get(refund_no).state === 'succeeded') setRefund(refund_no, 'returned');
	});
}

function refund({ refund_no, trade_no, channel_txn, amount, merchant }) {
	const known = refunds.get(refund_no);
	const trade = trades.get(trade_no);
	if (known && known.amount !== amount) complain(`refund ${refund_no} is sent again with other content`);
	if (known && known.state !== 'failed') return refundAnswer(refund_no);
	if (trade && channel_txn !== trade.txn) complain(`refund ${refund_no} is to give back ${channel_txn}, which is not ${trade.txn}`);
	const tries = (known?.tries ?? 0) + 1;
	const p = (...about) => roll(trade?.subject, trade?.nth, 'refund', refundsOf.get(trade_no)?.indexOf(refund_no) ?? 0, tries, ...about);
	const how = !trade || left(trade) < amount ? 'refuse'
		: trade.slow ? 'wait' : future.hurried || isScripted(trade) ? 'pay'
			: pick(p(), [[0.4, 'pay'], [0.7, 'pay soon'], [0.78, 'refuse'], [0.87, 'refuse, pay later'], [0.94, 'pay by hand'], [1, 'fail soon']]);
	// what it refused and then pays is still known by our number
	const itself = tries === 1 && how.startsWith('pay') && how !== 'pay by hand' && callsItself(refund_no, trade);
	const first = { trade_no, amount, merchant, kind: 'refund', tries, ...(itself && { itself }) };
	const soon = (state) => future.later(between(p('t'), 200, 2000), () => {
		const now = refunds.get(refund_no);
		if (now.tries === tries && now.state !== 'succeeded' && (now.state !== 'failed' || left(trade) >= amount)) setRefund(refund_no, state);
	});
	switch (how) {
		case 'pay':
			setRefund(refund_no, 'succeeded', first);
			break;
		case 'wait':
			setRefund(refund_no, 'processing', first);
			break;
		case 'pay soon':
			setRefund(refund_no, 'processing', first);
			soon('succeeded');
			break;
		case 'refuse':
			setRefund(refund_no, 'failed', first);
			break;
		case 'refuse, pay later':
			setRefund(refund_no, 'failed', first);
			soon('succeeded');
			break;
		case 'pay by hand':
			setRefund(refund_no, 'abnormal', first);
			soon('succeeded');
			break;
		case 'fail soon':
			setRefund(refund_no, 'processing', first);
			soon('failed');
			break;
	}
	return refundAnswer(refund_no);
}

function refundAnswer(refund_no) {
	const r = refunds.get(refund_no);
	if (!r) return { state: 'not_found' };
	return { state: r.state, amount: r.amount, currency: trades.get(r.trade_no).currency, channel_txn: r.txn };
}

// The customer's bank takes the whole amount back, whatever is left of it: a dispute, which
// is lost with a fee, and sometimes won after all.
function mayChargeBack(trade_no) {
	const trade = trades.get(trade_no);
	const p = roll(trade.subject, trade.nth, 'chargeback');
	const becomes = p < 0.03 ? 'won' : p < 0.08 ? 'lost' : undefined;
	if (!becomes || isScripted(trade)) return;
	future.later(between(roll(trade.subject, 'when'), 500, 4000), () => {
		chargeBack(trade_no, becomes === 'won');
		mayLose(chargebackOf(trade_no));
	});
}

const chargebackOf = (trade_no) => `cb-${trade_no.slice(-18)}`;

function chargeBack(trade_no, won) {
	const refund_no = chargebackOf(trade_no);
	const { amount, merchant } = trades.get(trade_no);
	if (!refunds.has(refund_no)) setRefund(refund_no, 'processing', { trade_no, amount, merchant, kind: 'chargeback', won });
}

function mayLose(refund_no) {
	const { subject } = trades.get(refunds.get(refund_no).trade_no);
	future.later(between(roll(refund_no, 'lost'), 300, 2000), () => lose(refund_no, roll(subject, 'fee') < 0.5 ? 15 : 0));
}

function lose(refund_no, fee) {
	const { state, amount } = refunds.get(refund_no);
	if (state === 'processing') setRefund(refund_no, 'succeeded', { amount: amount + fee });
}

// A debit bounces after it was paid: the ledger has it as what the verdict on it books.
function mayBounce(trade_no) {
	const trade = trades.get(trade_no);
	if (isScripted(trade) || trade.method === 'card' || roll(trade.subject, trade.nth, 'bounce') > 0.06) return;
	undo(between(roll(trade.subject, 'bounces'), 0, 2000), () => bounce(trade_no));
}

function bounce(trade_no) {
	const { amount, currency, merchant } = trades.get(trade_no);
	const refund_no = `${trade_no}b`;
	if (refunds.has(refund_no)) return;
	writeAndTell({ op: 'refund', refund_no, state: 'succeeded', trade_no, amount, merchant, kind: 'chargeback' },
		{ about: 'payment', trade_no, state: 'failed', amount, currency }, false);
}

// ---- what a script says ----

// Happens now, once however often it is said; and the shop is told of it before the script goes on.
async function does({ trade_no, refund_no, what }) {
	const trade = trades.get(trade_no);
	const waiting = () => [...untold.values()].filter((m) => m.trade_no === trade_no);
	const step = (number, from, to) => { if (refunds.get(number)?.state === from) setRefund(number, to); };
	switch (what) {
		case 'paid, and nobody is told':
			if (trade.state === 'open') ledger.write({ op: 'trade', trade_no, state: 'paid', txn: `T${trade_no.slice(-18)}` });
			break;
		case 'bounce':
			bounce(trade_no);
			break;
		case 'charge back':
			chargeBack(trade_no);
			break;
		case 'lose':
			lose(chargebackOf(trade_no), 15);
			break;
		case 'win':
			step(chargebackOf(trade_no), 'succeeded', 'returned');
			break;
		case 'refund':
			step(refund_no, 'processing', 'succeeded');
			break;
		case 'return':
			step(refund_no, 'succeeded', 'returned');
			break;
		case 'tell':
			for (const message of waiting()) await deliver(message);
			break;
		default:
			happen(trade_no, what);
	}
	while (waiting().some((message) => what === 'tell' || !isHeldBack(message))) await sleep(20);
	return {};
}

// ---- the server ----

for (const trade_no of trades.keys()) follow(trade_no);
for (const { refund_no, state, amount, trade_no, kind } of refunds.values()) {
	if (kind === 'chargeback' && state === 'processing') {
		mayLose(refund_no);
		continue;
	}
	if (!['processing', 'abnormal'].includes(state)) continue;
	future.later(1000, () => {
		if (refunds.get(refund_no).state === state && amount > 0 && trade_no) setRefund(refund_no, 'succeeded');
	});
}
for (const { trade_no, state } of trades.values()) if (state === 'paid') mayChargeBack(trade_no);
for (const message of told) goOn(message);
for (const message of untold.values()) future.later(500, () => deliver(message));

const about = (body) => trades.get(body.trade_no)?.subject ?? body.subject ?? 'nobody';
const route = (what, act) => (body) => faulty.handle(what, about(body), () => act(body));

serve(process.env.CHANNEL_PORT, {
	pay: route('pay', pay),
	capture: route('capture', capture),
	query: route('query', query),
	close: route('close', (body) => end(body.trade_no, 'closed')),
	void: route('void', (body) => end(body.trade_no, 'reversed')),
	refund: route('refund', answerOfRefund(refund)),
	query_refund: route('query_refund', answerOfRefund(({ refund_no }) => refundAnswer(refund_no))),
	does,
	// by telephone: whose refund is this, by your books?
	whose: ({ channel_txn }) => ({ refund_no: [...refunds.values()].find((r) => r.itself && transactionOf(r.refund_no) === channel_txn)?.refund_no }),
	// The end of the world: no faults any more, and what is to happen happens now.
	quiet: () => { future.hurry(); return {}; },
	coming: () => ({ coming: future.length + untold.size + [...trades.values()].filter((t) => ['open', 'authorized', 'capturing'].includes(t.state)).length }),
});
