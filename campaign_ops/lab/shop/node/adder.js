// Adds jobs with BullMQ's client of one version, for the process that started it:
//   node adder.js <major> <directory of the npm packages> <redis url> <prefix>
// Reads one JSON value per line, {queue, jobs: [{name, data, opts}]}, and answers each with {ids} or {error}.
// When its input ends, its parent has died and it exits.
'use strict';

const [major, home, url, prefix] = process.argv.slice(2);
const { createInterface } = require('node:readline');
const { clientOf, connectionTo } = require('./client.js');
const { Queue } = clientOf(major, home);
const connection = connectionTo(url, 1);
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
