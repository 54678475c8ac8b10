// Queues and workers of one BullMQ client in one process, shared by many tests:
//   node station.js <major> <redis url> <queue>
// Reads one JSON request per line, {id, do, prefix, ...}, and answers {id, value} or {id, error}. Events of a worker
// are written as {worker, taken | completed | failed}. A worker holds a taken job until it is told to end it.
'use strict';

const [major, url, name] = process.argv.slice(2);
const { FlowProducer, Queue, Worker } = require(`bullmq${major}`);
const { createInterface } = require('node:readline');
const { hostname, port, pathname } = new URL(url);
const connection = { host: hostname, port: Number(port), db: Number(pathname.slice(1) || 0), maxRetriesPerRequest: null };
const say = value => process.stdout.write(JSON.stringify(value) + '\n');
const queues = new Map();
const workers = new Map();
const hands = new Map();

function listening(it) {
  it.on('error', error => process.stderr.write(`${error.stack}\n`));
  return it;
}

async function queueOf(prefix) {
  if (!queues.has(prefix)) {
    const queue = listening(new Queue(name, { connection, prefix }));
    queues.set(prefix, queue);
    await queue.waitUntilReady();
  }
  return queues.get(prefix);
}

const jobOf = async ({ prefix, job }) => (await queueOf(prefix)).getJob(job);

const requests = {
  // The application starts; a moment later its version is in the queue's meta.
  async open({ prefix }) {
    await queueOf(prefix);
  },
  async add({ prefix, jobs }) {
    return (await (await queueOf(prefix)).addBulk(jobs)).map(job => job.id);
  },
  // A parent that waits for its children in the same queue; [parent, ...children].
  async flow({ prefix, parent, children }) {
    const flows = listening(new FlowProducer({ connection, prefix }));
    const inQueue = job => ({ ...job, queueName: name });
    const flow = await flows.add({ ...inQueue(parent), children: children.map(inQueue) });
    await flows.close();
    return [flow.job.id, ...flow.children.map(child => child.job.id)];
  },
  async remove(request) {
    await (await jobOf(request)).remove();
  },
  async promote(request) {
    await (await jobOf(request)).promote();
  },
  async pause({ prefix }) {
    await (await queueOf(prefix)).pause();
  },
  async resume({ prefix }) {
    await (await queueOf(prefix)).resume();
  },
  async hire({ prefix, worker, options }) {
    const one = listening(
      new Worker(
        name,
        async job => {
          const word = await new Promise(resolve => {
            hands.set(`${prefix} ${job.id}`, resolve);
            say({ worker, taken: job.id, name: job.name, data: job.data, opts: job.opts });
          });
          if (word.error) throw new Error(word.error);
        },
        { connection, prefix, ...options },
      ),
    );
    one.on('completed', job => say({ worker, completed: job.id }));
    one.on('failed', job => say({ worker, failed: job.id }));
    workers.set(worker, one);
    await one.waitUntilReady();
  },
  // Complete a taken job, or fail it.
  async finish({ prefix, job, error }) {
    hands.get(`${prefix} ${job}`)({ error });
    hands.delete(`${prefix} ${job}`);
  },
  // With `force` like a crash: its jobs stay active, and their locks run out.
  async dismiss({ worker, force }) {
    const one = workers.get(worker);
    workers.delete(worker);
    await one.close(force);
  },
  async leave({ prefix }) {
    const queue = queues.get(prefix);
    queues.delete(prefix);
    if (queue) await queue.close();
  },
};

createInterface({ input: process.stdin })
  .on('line', async line => {
    const request = JSON.parse(line);
    try {
      say({ id: request.id, value: (await requests[request.do](request)) ?? null });
    } catch (error) {
      say({ id: request.id, error: error.stack });
    }
  })
  .on('close', () => process.exit(0));
