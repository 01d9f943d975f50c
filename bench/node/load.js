// node load.js WAY WARM_SECONDS SECONDS [PORT]
//
// Takes orders from prepay to paid in BENCH_LANES lanes, one after the other in each, by one of the
// ways of ways.js, or through the HTTP application on PORT. What happens while it warms up is
// not measured, and counted all the same. Prints
//
//	lifecycles in all, lifecycles a second, ms of one: mean and p99, µs of this program's processor for each
//
// Any answer but "proceed" and "applied" ends it.

'use strict';

const net = require('net');
const options = require('./options.js');
const ways = require('./ways.js');

const payload = JSON.parse(process.env.BENCH_PAYLOAD);
const random = (below) => Math.floor(Math.random() * below);
const randomNumber = () => `${1 + random(8)}${String(random(1e9)).padStart(9, '0')}${String(random(1e9)).padStart(9, '0')}`;

/*
 * A connection that is kept alive, with one request at a time: the least that HTTP/1.1 asks
 * of a client, so that the client is not what is measured.
 */
class Line {
	constructor(port) {
		this.received = '';
		this.socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
		this.socket.setEncoding('latin1');
		this.socket.on('data', (chunk) => this.hear(chunk));
		this.socket.on('error', (error) => this.settle?.reject(error));
		this.socket.on('close', () => this.settle?.reject(new Error('the application hung up')));
	}

	post(path, key, body) {
		const content = JSON.stringify(body);
		return new Promise((resolve, reject) => {
			this.settle = { resolve, reject };
			this.socket.write(`POST ${path} HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nIdempotency-Key: ${key}\r\n`
				+ `Content-Length: ${content.length}\r\n\r\n${content}`);
		});
	}

	hear(chunk) {
		this.received += chunk;
		const end = this.received.indexOf('\r\n\r\n');
		if (end < 0) return;
		const head = this.received.slice(0, end);
		const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)[1]);
		if (this.received.length < end + 4 + length) return;
		const content = this.received.slice(end + 4, end + 4 + length);
		const { resolve, reject } = this.settle;
		this.received = '';
		this.settle = null;
		if (head.startsWith('HTTP/1.1 200 ')) resolve(JSON.parse(content));
		else reject(new Error(`${head}\n${content}`));
	}
}

function overHttp(port) {
	const lines = Array.from({ length: options.connections }, () => new Line(port));
	return {
		prepay: (o, lane) => lines[lane].post('/prepay', o.request_id, o),
		callback: (m, lane) => lines[lane].post('/callback', m.callback_id, m),
		end: () => lines.forEach((line) => line.socket.destroy()),
	};
}

async function lifecycle(payments, lane) {
	const amount = 100 + random(1000000);
	const opened = await payments.prepay({ order_no: randomNumber(), amount, currency: 'CNY', channel: 'test', method: 'card',
		request_id: randomNumber() }, lane);
	if (opened.decision !== 'proceed') throw new Error(`prepay: ${JSON.stringify(opened)}`);
	const paid = await payments.callback({ channel: 'test', callback_id: randomNumber(), trade_no: opened.trade_no, reported: 'paid', amount,
		currency: 'CNY', channel_txn: randomNumber(), occurred_at: new Date(), payload }, lane);
	if (paid.decision !== 'applied') throw new Error(`callback: ${JSON.stringify(paid)}`);
}

async function main([way, warmSeconds, seconds, port]) {
	const payments = port ? overHttp(Number(port)) : ways[way](options);
	const begin = performance.now() + 1000 * warmSeconds;
	const end = begin + 1000 * seconds;
	const latencies = [];
	let all = 0;

	async function run(lane) {
		for (let before = performance.now(); before < end;) {
			await lifecycle(payments, lane);
			const after = performance.now();
			all++;
			if (after >= begin && after < end) latencies.push(after - before);
			before = after;
		}
	}

	await Promise.all(Array.from({ length: options.connections }, (_, lane) => run(lane)));
	await payments.end();

	const { user, system } = process.cpuUsage();
	const n = latencies.length;
	latencies.sort((a, b) => a - b);
	console.log(all, (n / seconds).toFixed(1), (latencies.reduce((sum, ms) => sum + ms, 0) / n).toFixed(3),
		latencies[Math.floor(0.99 * n)].toFixed(3), ((user + system) / all).toFixed(1));
}

main(process.argv.slice(2)).catch((error) => {
	console.error(error);
	process.exit(1);
});
