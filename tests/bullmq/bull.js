// One BullMQ client of a given major version, controlled by its command line:
//   node bull.js <major> <redis url> <queue> <command> [JSON]
// Prints one JSON value per line. `work`, `hold` and `listen` run until their standard input closes.
'use strict';

const [major, url, name, command, argument] = process.argv.slice(2);
const { FlowProducer, Queue, QueueEvents, Worker } = require(`bullmq${major}`);
const { hostname, port, pathname } = new URL(url);
const connection = { host: hostname, port: Number(port), db: Number(pathname.slice(1) || 0), maxRetriesPerRequest: null };
const input = argument ? JSON.parse(argument) : {};
const say = value => process.stdout.write(JSON.stringify(value) + '\n');
const opened = [];

function open(Class, ...rest) {
  const it = new Class(...rest, { connection, ...(input.options || {}) });
  it.on('error', error => process.stderr.write(`${error.stack}\n`));
  opened.push(it);
  return it;
}

const inputClosed = () => new Promise(resolve => process.stdin.resume().on('end', resolve));

const commands = {
  // {jobs: [{name, data, opts}]}: adds them and prints their ids.
  async add() {
    const jobs = await open(Queue, name).addBulk(input.jobs);
    say(jobs.map(job => job.id));
  },
  // {name, data, children}: a parent that waits for its children in the same queue; prints [parent, ...children].
  async flow() {
    const children = input.children.map(child => ({ ...child, queueName: name }));
    const flow = await open(FlowProducer).add({ name: input.name, data: input.data, queueName: name, children });
    say([flow.job.id, ...flow.children.map(child => child.job.id)]);
  },
  // {name, data, every}: a repeated job, each time under an id with colons.
  async schedule() {
    const queue = open(Queue, name);
    const repeat = { every: input.every };
    if (queue.upsertJobScheduler) {
      await queue.upsertJobScheduler('nightly', repeat, { name: input.name, data: input.data });
    } else {
      await queue.add(input.name, input.data, { repeat });
    }
    say('scheduled');
  },
  async pause() {
    await open(Queue, name).pause();
    say('paused');
  },
  async resume() {
    await open(Queue, name).resume();
    say('resumed');
  },
  // {fail}: completes or fails every job, and prints its data and the time.
  async work() {
    const worker = open(Worker, name, async job => {
      say({ id: job.id, name: job.name, data: job.data, opts: job.opts, at: Date.now() });
      if (input.fail) throw new Error('refused by the provider');
    });
    worker.on('completed', job => say({ completed: job.id }));
    worker.on('failed', job => say({ failed: job.id }));
    await worker.waitUntilReady();
    say('ready');
    await inputClosed();
  },
  // Takes jobs and never ends them.
  async hold() {
    const worker = open(Worker, name, async job => {
      say({ id: job.id });
      await inputClosed();
    });
    await worker.waitUntilReady();
    say('ready');
    await inputClosed();
  },
  // All clients that connect to a queue without working on it.
  async listen() {
    await open(QueueEvents, name).waitUntilReady();
    await open(Queue, name).waitUntilReady();
    say('ready');
    await inputClosed();
  },
};

commands[command]()
  .then(() => Promise.all(opened.map(it => it.close())))
  .then(() => process.exit(0))
  .catch(error => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  });
