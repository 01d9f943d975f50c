#!/usr/bin/env node
// Runs a worker: PGHOST and the like say where the database is, CHANNEL_URL and
// PARTICIPANT_URL who is to be asked. SIGTERM and SIGINT end it when it has reported
// what is under way; SIGKILL does no harm.

'use strict';

const os = require('os');
const { channel, participant } = require('./channel');
const { connect } = require('./database');
const { Worker } = require('./worker');

const CALL_TIMEOUT_MS = 10000;

const pool = connect({ max: 10, connectionTimeoutMillis: 5000 });
const worker = new Worker({
	pool,
	name: process.env.WORKER_NAME ?? `${os.hostname()}:${process.pid}`,
	// by the names in pay_channel, and by the classes in pay_resource that are external
	channels: { test: channel(process.env.CHANNEL_URL ?? 'http://localhost:8080', CALL_TIMEOUT_MS) },
	participants: { hotel: participant(process.env.PARTICIPANT_URL ?? 'http://localhost:8081', CALL_TIMEOUT_MS) },
	leaseS: 60,
	paid: async (db, order) => {
		// Here, in the transaction that pays it: UPDATE your orders, put the parcel on its way.
		console.log(`order ${order.order_no} is paid`);
	},
});

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => worker.stop());
worker.run().then(() => pool.end());
