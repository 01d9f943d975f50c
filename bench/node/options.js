// What the environment says: BENCH_LANES, and where Redis is (REDIS_SOCKET, or REDIS_PORT on this
// machine). PostgreSQL's place is in PGHOST and so on.

'use strict';

const { env } = process;

module.exports = {
	connections: Number(env.BENCH_LANES),
	redis: env.REDIS_PORT ? { host: '127.0.0.1', port: Number(env.REDIS_PORT) } : { path: env.REDIS_SOCKET },
};
