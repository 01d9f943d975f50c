// Runs the world: starts its processes, has the scripts played, then kills the processes
// at random and starts them again, crashes the server, brings it all to an end, and has
// it checked. Prints one line of JSON. The server, and the extension in the database, are
// the caller's.
//
// Environment: WORLD_DIR (ledgers, logs), WORLD_SEED, WORLD_PORTS (that are free: the
// channel, the participant, and one for each callback address), WORLD_SCRIPTS (names,
// with a | between them; none are all), and WORLD_ROUNDS (how long it may take to end).
// What happens beside the scripts: WORLD_ORDERS (so many, none by default), WORLD_CLIENTS,
// WORLD_LANES (customers of each), WORLD_KILLS and WORLD_CRASHES (so many at least); where
// there are crashes PGDATA and WORLD_SERVER_LOG.

'use strict';

const { execFileSync, spawn } = require('child_process');
const fs = require('fs');
const path = require('path');
const { Client } = require('pg');
const { ask, between, complain, dice, sleep } = require('./common');

const env = process.env;
const dir = env.WORLD_DIR;
const seed = env.WORLD_SEED ?? '1';
const orders = Number(env.WORLD_ORDERS ?? 0);
const crashes = Number(env.WORLD_CRASHES ?? 0);
const kills = Number(env.WORLD_KILLS ?? 0);
const clients = Number(env.WORLD_CLIENTS ?? 3);
const scripts = env.WORLD_SCRIPTS ? env.WORLD_SCRIPTS.split('|') : [];
const [channel, participant, ...shops] = env.WORLD_PORTS.split(' ');
const maxRounds = Number(env.WORLD_ROUNDS ?? 360);		// of half a second

// What its role does not need to know of the others is the same for all.
const common = {
	...env, WORLD_SEED: seed, CHANNEL_PORT: channel, PARTICIPANT_PORT: participant, SHOP_PORTS: shops.join(' '),
	CLIENTS: clients, LANES: env.WORLD_LANES ?? 12, ORDERS: orders,
};

// ---- processes ----

const processes = new Map();	// name: { child, wanted }

function start(name, program, more = {}) {
	const log = fs.openSync(`${dir}/${name}.log`, 'a');
	const child = spawn(process.execPath, [path.join(__dirname, program)], { env: { ...common, ...more }, stdio: ['ignore', log, log] });
	fs.closeSync(log);
	const it = { name, program, more, child, wanted: true };
	it.ended = new Promise((resolve) => child.on('exit', resolve)).then((code) => {
		it.done = code === 0;
		// it was killed, or fell over: a supervisor starts it again
		if (it.wanted && !it.done) setTimeout(() => it.wanted && start(name, program, more), 200);
	});
	processes.set(name, it);
}

async function stop(names, signal) {
	const ending = names.map((name) => processes.get(name));
	for (const it of ending) it.wanted = false;
	for (const it of ending) it.child.kill(signal);
	// who does not end by himself is killed: that must do no harm either
	const impatient = setTimeout(() => { for (const it of ending) it.child.kill('SIGKILL'); }, 20000);
	await Promise.all(ending.map((it) => it.ended));
	clearTimeout(impatient);
}

const named = (...kinds) => [...processes.keys()].filter((name) => kinds.includes(name.split('-')[0]));

// ---- the server ----

async function look(text) {
	const db = new Client({ connectionTimeoutMillis: 60000 });
	db.on('error', () => {});
	try {
		await db.connect();
		return (await db.query(text)).rows;
	} finally {
		await db.end().catch(() => {});
	}
}

function crash() {
	execFileSync('pg_ctl', ['-D', env.PGDATA, '-m', 'immediate', 'stop'], { stdio: 'ignore' });
	execFileSync('pg_ctl', ['-D', env.PGDATA, '-l', env.WORLD_SERVER_LOG, '-t', '180', '-w', 'start'], { stdio: 'ignore' });
}

// ---- the day ----

const told = { kills: 0, crashes: 0, looks: 0, rounds: 0, lost: [] };

// Is any task lost? This holds at every moment, so it is looked at all the time.
async function lookForLostTasks() {
	const lost = await look('SELECT * FROM world.lost_task LIMIT 5');
	told.lost.push(...lost.map(({ what }) => what));
	told.looks++;
	return lost.length > 0;
}

const linesOf = (name) => (fs.existsSync(`${dir}/${name}`) ? fs.readFileSync(`${dir}/${name}`, 'utf8').split('\n').slice(0, -1) : []);

// How many of the orders are over, of all.
function progress() {
	let ended = 0;
	for (let n = 0; n < clients; n++) ended += linesOf(`client-${n}`).filter((line) => line.startsWith('ends')).length;
	return ended / orders;
}

// Kills and crashes until the clients have played all their orders, and at least so often.
async function misfortune() {
	const goesOn = () => told.kills < kills || told.crashes < crashes || !named('client').every((name) => processes.get(name).done);
	for (let n = 0; goesOn(); n++) {
		await sleep(between(dice(seed, 'pause', n), 300, 1800));
		if (told.crashes < crashes && progress() > (told.crashes + 1) / (crashes + 1) - 0.1) {
			crash();
			told.crashes++;
		}
		const victims = dice(seed, 'whom', n) < 0.1 ? named('channel', 'participant') : named('client', 'worker', 'shop');
		const { child } = processes.get(victims[between(dice(seed, 'victim', n), 0, victims.length)]);
		if (child.exitCode === null && child.signalCode === null && child.kill('SIGKILL')) told.kills++;
		if (n % 3 === 0) await lookForLostTasks();
	}
}

// Clients are gone, the channel is reliable: in so many rounds all must come to an end.
async function drain() {
	for (const port of [channel, participant]) while (!await ask(port, 'quiet', {})) await sleep(200);
	for (; told.rounds < maxRounds; told.rounds++) {
		await sleep(500);
		const coming = await Promise.all([channel, participant].map((port) => ask(port, 'coming', {})));
		const [left] = await look('SELECT * FROM world.left');
		told.left = left;
		if (coming.every((c) => c?.coming === 0) && Object.values(left).every((n) => n === '0')) return;
		// what is lost will not come by waiting
		if (await lookForLostTasks()) return;
	}
}

// The scripts, of which nobody may be killed.
async function play(kind) {
	const log = fs.openSync(`${dir}/purpose-${kind}.log`, 'a');
	const child = spawn(process.execPath, [path.join(__dirname, 'purpose.js'), kind, ...scripts], { env: common, stdio: ['ignore', log, log] });
	fs.closeSync(log);
	await new Promise((resolve) => child.on('exit', resolve));
	if (child.exitCode !== 0) complain(`purpose.js ${kind} did not end well: ${linesOf(`purpose-${kind}.log`).join(' ')}`);
}

async function main() {
	start('channel', 'channel.js');
	start('participant', 'participant.js');
	shops.forEach((port, n) => start(`shop-${n}`, 'shop.js', { SHOP_PORT: port }));
	start('person', 'person.js');
	while (!await ask(channel, 'coming', {}) || !await ask(participant, 'coming', {})) await sleep(100);

	await play('alone');
	for (let n = 0; n < 2; n++) start(`worker-${n}`, 'worker.js', { WORKER_NAME: `worker ${n}` });
	await play('together');
	if (orders > 0) {
		for (let n = 0; n < clients; n++) start(`client-${n}`, 'client.js', { CLIENT: n });
		await misfortune();
	}
	await drain();
	await stop(named('worker', 'person', 'shop'), 'SIGTERM');
	await stop(named('channel', 'participant'), 'SIGKILL');

	const answers = {};
	for (const answer of linesOf('answers')) answers[answer] = (answers[answer] ?? 0) + 1;
	const checked = execFileSync(process.execPath, [path.join(__dirname, 'check.js')], { env: common, encoding: 'utf8', maxBuffer: 1e8 });
	console.log(JSON.stringify({ seed, ...told, ...JSON.parse(checked), answers, complaints: linesOf('complaints') }));
}

// Whatever happens to the runner, its world goes with it.
process.on('exit', () => {
	for (const it of processes.values()) it.child.kill('SIGKILL');
});
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => process.exit(1));

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
