// Adds jobs with BullMQ's client of one version, for the process that started it:
//   node adder.js <major> <directory of the npm packages> <redis url> <prefix>
// Reads one JSON value per line, {queue, jobs: [{name, data, opts}]}, and answers each with {ids} or {error}.
// When its input ends, its parent has died and it exits.
'use strict';

const [major, home, url, prefix] = process.argv.slice(2);
const { createRequire } = require('node:module');
const { createInterface } = require('node:readline');
const { Queue } = createRequire(`${home}/`)(`bullmq${major}`);
const { hostname, port, pathname, username, password } = new URL(url);
const connection = {
  host: hostname,
  port: Number(port || 6379),
  db: Number(pathname.slice(1) || 0),
  username: decodeURIComponent(username) || undefined,
  password: decodeURIComponent(password) || undefined,
  maxRetriesPerRequest: 1,
};
const queues = new Map();

function queueOf(name) {
  if (!queues.has(name)) {
    const queue = new Queue(name, { connection, prefix });
    queue.on('error', error => process.stderr.write(`queue: ${error.message}\n`));
    queues.set(name, queue);
  }
  return queues.get(name);
}

async function add({ queue, jobs }) {
  const ids = [];
  for (const { name, data, opts } of jobs) ids.push((await queueOf(queue).add(name, data, opts)).id);
  return { ids };
}

createInterface({ input: process.stdin })
  .on('line', async line => {
    const answer = await add(JSON.parse(line)).catch(error => ({ error: error.message }));
    process.stdout.write(JSON.stringify(answer) + '\n');
  })
  .on('close', () => process.exit(0));
