// Graphile Worker (Node).
//
// Best: what its page "Performance" was measured with: 24 concurrent jobs, a pool of 25, a local queue of 500 jobs, completions
// gathered without delay. Default: nothing set, so that one job runs at a time.

import { makeWorkerUtils, run as start } from "graphile-worker";
import { Logger } from "graphile-worker";
import { main, ready, run } from "./harness.mjs";

const quiet = new Logger(() => (level, message) => {
  if (level === "error") process.stderr.write(message + "\n");
});

const BEST = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};

await main({
  batch: 1000,

  async setup(url) {
    const utils = await makeWorkerUtils({ connectionString: url, logger: quiet });
    await utils.migrate();
    await utils.release();
  },

  async producer(url, connections) {
    const utils = await makeWorkerUtils({ connectionString: url, maxPoolSize: connections, logger: quiet });
    return {
      many: (jobs) => utils.addJobs(jobs.map((payload) => ({ identifier: "bench", payload }))),
      one: (payload) => utils.addJob("bench", payload),
    };
  },

  async work(url, settings) {
    const worker = settings === "best" ? BEST : {};
    const preset = { worker: { connectionString: url, logger: quiet, ...worker } };
    await ready();
    const runner = await start({ preset, taskList: { bench: (payload) => run(payload) } });
    await runner.promise;
  },
});
