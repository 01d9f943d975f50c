// Orders whose fate is fixed, among the first of every world: what must have happened in
// it happens to them, whatever the dice say.
//
// plan       what the customer does: [after ms, what happens then]
// parts      what he sends back, of what he paid; desk: each click of the clerk has a number of its own
// chargeback what his bank says of it in the end, bounces, returned: see channel.js
// itself     the channel calls the refund by its own number, and says so first in a message

'use strict';

const paid = [[100, 'paid']];

const PURPOSE = {
	20: { plan: paid, bounces: true },
	21: { plan: paid, chargeback: 'lost', parts: [0.5] },
	22: { plan: paid, chargeback: 'won' },
	23: { plan: paid, parts: [1], returned: true },
	24: { plan: paid, parts: [0.3, 0.5], itself: true },
	25: { method: 'card', plan: [[100, 'authorized'], [30000, 'reversed']] },
	26: { method: 'card', plan: [[100, 'authorized'], [30000, 'reversed']] },
	27: { plan: paid, parts: [0.3, 0.4], desk: true },
};

// Of order k, and of the channel's subject that it is.
const purposeOf = (k) => PURPOSE[k];
const purposeOfSubject = (subject) => PURPOSE[/^\/W(\d+)$/.exec(subject)?.[1]];

module.exports = { purposeOf, purposeOfSubject };
