"""PgQueuer.

Best: uvloop, asyncpg and five managers in a process, as its own benchmark has them; batches of 200, since its page "Performance
tuning" says to raise them for short jobs; the autovacuum settings of `pgq autovac`. Default: `PgQueuer.run()` with nothing set.
"""

import asyncio
import json
import logging
from datetime import timedelta

import asyncpg
import uvloop
from harness import METER, Peer, main, ready
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries


async def manager(url):
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))

    @pgq.entrypoint("bench")
    async def bench(job: Job) -> None:
        await METER.run(json.loads(job.payload)["t"])

    return pgq


class Queue(Peer):
    @staticmethod
    async def setup(url, settings):
        queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
        await queries.install()
        if settings == "best":
            await queries.optimize_autovacuum()

    async def connect(self, url, connections):
        pool = await asyncpg.create_pool(url, min_size=connections, max_size=connections)
        self.queries = Queries(AsyncpgPoolDriver(pool))

    async def many(self, jobs):
        payloads = [json.dumps(job).encode() for job in jobs]
        await self.queries.enqueue(["bench"] * len(jobs), payloads, [0] * len(jobs))

    async def one(self, job):
        await self.queries.enqueue("bench", json.dumps(job).encode())

    @staticmethod
    async def work(url, settings):
        if settings == "best":
            managers = [await manager(url) for _ in range(5)]
            await ready()
            await asyncio.gather(*(pgq.run(batch_size=200) for pgq in managers))
        else:
            pgq = await manager(url)
            await ready()
            options = {"heartbeat_timeout": timedelta(seconds=5)} if settings == "recovery" else {}
            await pgq.run(**options)


logging.getLogger("pgqueuer").setLevel(logging.ERROR)
main(Queue, uvloop.run)
