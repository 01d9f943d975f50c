// Keeps hotel rooms and points for orders, in a system of its own: try, confirm and
// release, each as often as it comes, in whatever order it comes.

'use strict';

const { Faulty, Ledger, serve } = require('./common');

const faulty = new Faulty(`${process.env.WORLD_SEED} participant`);
const holds = new Map();
const key = ({ pay_no, resource }) => `${pay_no} ${resource}`;
const ledger = new Ledger(`${process.env.WORLD_DIR}/participant.ledger`, (entry) => holds.set(key(entry), entry));

// Each entry is a step: what was asked, and what it is then.
function step(body, what, to) {
	const { pay_no, resource, quantity } = body;
	ledger.write({ op: 'hold', pay_no, resource, quantity, what, was: holds.get(key(body))?.state ?? null, state: to, giving_back: body.giving_back });
	return { state: to };
}

function tries(body) {
	const state = holds.get(key(body))?.state;
	return state ? { state } : step(body, 'try', 'tried');		// released: a try after the cancel does nothing
}

// The order is paid. If the try never came, it is taken now.
function confirm(body) {
	const state = holds.get(key(body))?.state;
	return state === 'confirmed' ? { state } : step(body, 'confirm', 'confirmed');
}

// A release without a try is remembered, so that the try cannot come after it.
function release(body) {
	const state = holds.get(key(body))?.state;
	return state === 'released' ? { state } : step(body, 'release', 'released');
}

const route = (what, act) => (body) => faulty.handle(what, `${body.pay_no} ${body.resource}`, () => act(body));

serve(process.env.PARTICIPANT_PORT, {
	try: route('try', tries),
	confirm: route('confirm', confirm),
	release: route('release', release),
	quiet: () => { faulty.future.hurry(); return {}; },
	coming: () => ({ coming: faulty.future.length }),
});
