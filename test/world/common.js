// What the processes of the world share: dice, ledgers, servers that lose things.

'use strict';

const { createHash } = require('crypto');
const fs = require('fs');
const http = require('http');

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// In [0, 1), and the same whenever the same is asked: so the seed decides what every
// order, and the channel with it, will do. It does not decide who comes first.
function dice(...about) {
	return createHash('md5').update(about.join('\x1f')).digest().readUInt32BE(0) / 2 ** 32;
}

// One of [[until, what] ...], until rising to 1.
function pick(value, choices) {
	return choices.find(([until]) => value < until)[1];
}

const between = (value, low, high) => low + Math.floor(value * (high - low));

/*
 * A file to which lines of JSON are only added. What is written survives the process;
 * whoever starts again reads it first. apply(entry) is how an entry changes the state
 * in memory, now and then.
 */
class Ledger {
	constructor(file, apply) {
		this.file = file;
		this.apply = apply;
		const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
		const whole = text.slice(0, text.lastIndexOf('\n') + 1);	// killed in the middle of a line
		if (whole !== text) fs.writeFileSync(file, whole);
		for (const line of whole.split('\n')) if (line) apply(JSON.parse(line));
	}

	// What belongs together is written at once: whoever is killed has written all of it or nothing.
	write(...entries) {
		const lines = entries.map((entry) => ({ ...entry, at: Date.now() }));
		fs.appendFileSync(this.file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
		lines.forEach(this.apply);
	}
}

// Things that will happen, and how many there are. When all is to be quiet they happen now.
class Future {
	constructor() {
		this.coming = new Map();
		this.hurried = false;
	}

	later(ms, what) {
		const key = {};
		const happen = () => {
			clearTimeout(this.coming.get(key)?.timer);
			if (this.coming.delete(key)) what();
		};
		this.coming.set(key, { happen, timer: setTimeout(happen, this.hurried ? Math.min(ms, 50) : ms) });
	}

	hurry() {
		this.hurried = true;
		for (const { happen } of [...this.coming.values()]) happen();
	}

	get length() {
		return this.coming.size;
	}
}

const LOST = Symbol('no answer');

// Orders whose fate a script decides (purpose.js), and what they hold: nothing is left to chance.
const SCRIPTED = /[/:]P-/;
const isScripted = (trade) => SCRIPTED.test(trade?.subject);

/*
 * A server that, as long as it is wild, loses what it is asked before or after it has
 * acted, and is late: act() is what it does about it, whom the request is about
 * decides its fate.
 */
class Faulty {
	constructor(seed) {
		this.seed = seed;
		this.future = new Future();
		this.asked = new Map();
	}

	async handle(what, about, act) {
		const key = `${what} ${about}`;
		const times = this.asked.get(key) ?? 0;
		this.asked.set(key, times + 1);
		const fate = this.future.hurried || SCRIPTED.test(about) ? 'fine' : pick(dice(this.seed, 'fate', key, times), [
			[0.05, 'lost before'], [0.09, 'late'], [0.14, 'lost after'], [0.18, 'answers late'], [1, 'fine']]);
		switch (fate) {
			case 'lost before':
				return LOST;
			case 'late':
				return new Promise((resolve) => this.future.later(1500, () => resolve(act())));
			case 'lost after':
				act();
				return LOST;
			case 'answers late': {
				const answer = act();
				await sleep(1500);
				return answer;
			}
			default:
				return act();
		}
	}
}

// routes: { name: (body) => answer }. What is LOST gets no answer, what is undefined 503.
function serve(port, routes) {
	const server = http.createServer((request, response) => {
		let text = '';
		request.on('data', (chunk) => { text += chunk; });
		request.on('end', async () => {
			const route = routes[request.url.slice(1)];
			const answer = route ? await route(JSON.parse(text || '{}')) : undefined;
			if (answer === LOST) {
				request.socket.destroy();
				return;
			}
			response.writeHead(answer === undefined ? 503 : 200, { 'content-type': 'application/json' });
			response.end(JSON.stringify(answer ?? {}));
		});
		request.on('error', () => {});
	});
	server.keepAliveTimeout = 60000;
	server.listen(port, '127.0.0.1');
	return server;
}

// Asks such a server. No answer: undefined.
async function ask(port, name, body, timeoutMs = 800) {
	try {
		const response = await fetch(`http://127.0.0.1:${port}/${name}`, {
			method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(timeoutMs),
		});
		return response.ok ? await response.json() : undefined;
	} catch {
		return undefined;
	}
}

// What nobody expected: the world is not as it should be.
function complain(what) {
	fs.appendFileSync(`${process.env.WORLD_DIR}/complaints`, `${process.argv[1].replace(/.*\//, '')}: ${what}\n`);
}

process.on('unhandledRejection', (error) => {
	complain(error.stack);
	process.exit(1);
});

module.exports = { ask, between, complain, dice, Faulty, isScripted, Ledger, LOST, pick, serve, sleep };
