// pg-boss.
//
// Best: batches of 1,000, fetched again at once while they come back full (burstWhenBatchFull), by four workers in the process
// (localConcurrency); a table of the queue's own (partition), as its introduction has it for large queues; LISTEN/NOTIFY. Recovery: heartbeats of ten seconds, the shortest that it takes, and a monitor as often.
// Default: nothing set, so that one job is fetched each two seconds.

import { PgBoss } from "pg-boss";
import { main, ready, run } from "./harness.mjs";

const QUEUE = "bench";
const QUEUES = {
  best: { notify: true, partition: true },
  recovery: { heartbeatSeconds: 10 },
  default: {},
};
const INSTANCES = {
  best: { useListenNotify: true },
  recovery: { monitorIntervalSeconds: 10, superviseIntervalSeconds: 10 },
  default: {},
};
const WORKERS = {
  best: { batchSize: 1000, burstWhenBatchFull: true, localConcurrency: 4 },
  recovery: {},
  default: {},
};

async function boss(options) {
  const boss = new PgBoss(options);
  boss.on("error", (error) => process.stderr.write(`${error.message}\n`));
  await boss.start();
  return boss;
}

await main({
  batch: 1000,

  async setup(url, settings) {
    const instance = await boss({ connectionString: url });
    await instance.createQueue(QUEUE, QUEUES[settings]);
    await instance.stop();
  },

  async producer(url, connections) {
    const producer = await boss({ connectionString: url, max: connections, supervise: false, schedule: false });
    return {
      many: (jobs) => producer.insert(QUEUE, jobs.map((data) => ({ data }))),
      one: (data) => producer.send(QUEUE, data),
    };
  },

  async work(url, settings) {
    const worker = await boss({ connectionString: url, ...INSTANCES[settings] });
    await ready();
    await worker.work(QUEUE, WORKERS[settings], (jobs) => Promise.all(jobs.map((job) => run(job.data))));
    await new Promise(() => {});
  },
});
