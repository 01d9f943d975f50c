// node app.js WAY [middleware]
//
// An HTTP application that takes payments: POST /prepay and POST /callback, in one of the
// ways of ways.js; if asked for, behind an idempotency middleware that keeps keys and
// answers in Redis. Prints its port on 127.0.0.1. Ends with SIGTERM.

'use strict';

const fastify = require('fastify');
const { Idempotency } = require('@node-idempotency/core');
const { RedisStorageAdapter } = require('@node-idempotency/storage-adapter-redis');
const options = require('./options.js');
const ways = require('./ways.js');

/*
 * Before the handler: a key that was seen answers at once. After it: the answer is kept,
 * for a day, before it is sent. This is what the library's own plugins do.
 */
async function withMiddleware(app) {
	const { path, host, port } = options.redis;
	const storage = new RedisStorageAdapter({ socket: path ? { path } : { host, port, noDelay: true } });
	await storage.connect();
	const idempotency = new Idempotency(storage, { enforceIdempotency: true });
	const seen = (request) => ({ headers: request.headers, path: request.url, method: request.method, body: request.body });

	app.addHook('preHandler', async (request, reply) => {
		const before = await idempotency.onRequest(seen(request));
		if (!before) return undefined;
		request.replayed = true;
		return reply.code(before.additional.statusCode).type('application/json').send(before.body);
	});
	app.addHook('onSend', async (request, reply, payload) => {
		if (!request.replayed) await idempotency.onResponse(seen(request), { body: payload, additional: { statusCode: reply.statusCode } });
		return payload;
	});
	app.addHook('onClose', () => storage.disconnect());
}

async function main([way, middleware]) {
	const payments = ways[way](options);
	const app = fastify();

	if (middleware) await withMiddleware(app);
	app.post('/prepay', (request) => payments.prepay(request.body));
	app.post('/callback', (request) => payments.callback(request.body));
	await app.listen({ host: '127.0.0.1', port: 0 });
	console.log(app.server.address().port);
	process.on('SIGTERM', async () => {
		await app.close();
		await payments.end();
	});
}

main(process.argv.slice(2)).catch((error) => {
	console.error(error);
	process.exit(1);
});
