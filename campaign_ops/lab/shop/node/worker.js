// A BullMQ worker of one client version whose jobs are done by the process that started it:
//   node worker.js <major> <directory of the npm packages> <redis url> <queue> <options as JSON>
// Says one JSON value per line: {ready}, and {take, id, name, data} for every job that it takes. Is answered
// {take, value}, {take, error}, or {take, until} for a job that goes back to the queue until then; {close} ends it.
// When its input ends it dies at once, as its parent has: what it holds stays active and its locks run out.
'use strict';

const [major, home, url, name, options] = process.argv.slice(2);
const { createRequire } = require('node:module');
const { createInterface } = require('node:readline');
const { DelayedError, Worker } = createRequire(`${home}/`)(`bullmq${major}`);
const { hostname, port, pathname, username, password } = new URL(url);
const connection = {
  host: hostname,
  port: Number(port || 6379),
  db: Number(pathname.slice(1) || 0),
  username: decodeURIComponent(username) || undefined,
  password: decodeURIComponent(password) || undefined,
  maxRetriesPerRequest: null,
};
const say = value => process.stdout.write(JSON.stringify(value) + '\n');
const hands = new Map();
let taken = 0;

const worker = new Worker(
  name,
  async (job, token) => {
    const take = (taken += 1);
    const word = await new Promise(resolve => {
      hands.set(take, resolve);
      say({ take, id: job.id, name: job.name, data: job.data });
    });
    if (word.until) {
      await job.moveToDelayed(word.until, token);
      throw new DelayedError();
    }
    if (word.error) throw new Error(word.error);
    return word.value;
  },
  { connection, ...JSON.parse(options) },
);
worker.on('error', error => process.stderr.write(`queue: ${error.message}\n`));
worker.on('failed', (job, error) => process.stderr.write(`job ${job && job.id} failed: ${error.message}\n`));
worker.waitUntilReady().then(() => say({ ready: true }));

createInterface({ input: process.stdin })
  .on('line', async line => {
    const word = JSON.parse(line);
    if (word.close) {
      await worker.close();
      process.exit(0);
    }
    hands.get(word.take)(word);
    hands.delete(word.take);
  })
  .on('close', () => process.exit(0));
