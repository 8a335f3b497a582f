"""Procrastinate.

Best: 30 jobs at once, as in the page "Execute multiple jobs at the same time", and connections for all of them. Recovery: the
periodic task of the page "Retry stalled jobs", as often as cron allows, with its default of 30 s without a heartbeat.
Default: nothing set, so that one job runs at a time, and no stalled job is ever run again.
"""

import logging

from harness import METER, Peer, main, ready
from procrastinate import App, PsycopgConnector


def app_of(url, connections=None):
    # Connector options are those of psycopg's pool; without them it has ten connections at most.
    pool = {} if connections is None else {"min_size": connections, "max_size": connections}
    app = App(connector=PsycopgConnector(conninfo=url, **pool))

    @app.task(name="bench", queue="bench")
    async def bench(n, t, text):
        await METER.run(t)

    return app, bench


class Procrastinate(Peer):
    @staticmethod
    async def setup(url, settings):
        app, _ = app_of(url)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    async def connect(self, url, connections):
        self.app, self.bench = app_of(url, connections)
        await self.app.open_async()

    async def many(self, jobs):
        await self.bench.batch_defer_async(*jobs)

    async def one(self, job):
        await self.bench.defer_async(**job)

    @staticmethod
    async def work(url, settings):
        best = settings == "best"
        app, _ = app_of(url, 32 if best else None)
        if settings == "recovery":

            @app.periodic(cron="* * * * *")
            @app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
            async def retry_stalled_jobs(context, timestamp):
                for job in await app.job_manager.get_stalled_jobs():
                    await app.job_manager.retry_job(job)

        async with app.open_async():
            await ready()
            options = {"concurrency": 30} if best else {}
            await app.run_worker_async(**options)


logging.getLogger("procrastinate").setLevel(logging.ERROR)
main(Procrastinate)
