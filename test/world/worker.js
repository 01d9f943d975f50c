// The worker of examples/worker, as it is, with the world's records.

'use strict';

const { types } = require('pg');
const { channel, participant } = require('../../examples/worker/channel');
const { connect } = require('../../examples/worker/database');
const { Worker } = require('../../examples/worker/worker');
const { claimed, paid } = require('./records');

// The checker compares leases to the microsecond, which a Date has not.
types.setTypeParser(types.builtins.TIMESTAMPTZ, (text) => text);

const CALL_TIMEOUT_MS = 800;
const leaseS = 2;
const name = process.env.WORKER_NAME;
const pool = connect({ max: 8, user: 'world_worker', connectionTimeoutMillis: 1000 });
const keeper = participant(`http://127.0.0.1:${process.env.PARTICIPANT_PORT}`, CALL_TIMEOUT_MS);

const worker = new Worker({
	pool,
	name,
	leaseS,
	slots: 30,
	idleMs: 100,
	channels: { world: channel(`http://127.0.0.1:${process.env.CHANNEL_PORT}`, CALL_TIMEOUT_MS) },
	participants: { hotel: keeper, points: keeper },
	paid: (db, order) => paid(db, order, name),
	claimed: (db, tasks) => claimed(db, name, leaseS, tasks),
});

process.on('SIGTERM', () => worker.stop());
worker.run().then(() => pool.end());
