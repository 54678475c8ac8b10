// A BullMQ worker of one client version whose jobs are done by the process that started it:
//   node worker.js <major> <directory of the npm packages> <redis url> <queue,queue> <options as JSON>
// Writes one JSON value per line: {ready}, and {take, id, name, data} for every job that it takes. Reads the answers
// {take, value}, {take, error}, or {take, until} for a job that goes back to the queue until then; {close} ends it.
// When its input ends, its parent has died and it exits at once: its jobs stay active and their locks run out.
'use strict';

const [major, home, url, names, options] = process.argv.slice(2);
const { createInterface } = require('node:readline');
const { clientOf, connectionTo } = require('./client.js');
const { DelayedError, Worker } = clientOf(major, home);
const connection = connectionTo(url, null);
const send = value => process.stdout.write(JSON.stringify(value) + '\n');
const waiting = new Map();
let taken = 0;

const hand = async (job, token) => {
  const take = (taken += 1);
  const answer = await new Promise(resolve => {
    waiting.set(take, resolve);
    send({ take, id: job.id, name: job.name, data: job.data });
  });
  if (answer.until) {
    await job.moveToDelayed(answer.until, token);
    throw new DelayedError();
  }
  if (answer.error) throw new Error(answer.error);
  return answer.value;
};
const workers = names.split(',').map(name => new Worker(name, hand, { connection, ...JSON.parse(options) }));
for (const worker of workers) {
  worker.on('error', error => process.stderr.write(`queue: ${error.message}\n`));
  worker.on('failed', (job, error) => process.stderr.write(`job ${job && job.id} failed: ${error.message}\n`));
}
Promise.all(workers.map(worker => worker.waitUntilReady())).then(() => send({ ready: true }));

createInterface({ input: process.stdin })
  .on('line', async line => {
    const answer = JSON.parse(line);
    if (answer.close) {
      await Promise.all(workers.map(worker => worker.close()));
      process.exit(0);
    }
    waiting.get(answer.take)(answer);
    waiting.delete(answer.take);
  })
  .on('close', () => process.exit(0));
