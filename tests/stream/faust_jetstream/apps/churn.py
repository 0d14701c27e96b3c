"""Counts lines per key, and reports every message once: the app of the churn tests.

A message holds space-separated keys. The result of each message tells its offset and how many
messages of the partition came before, so that lost, doubled and inconsistent ones all show.
"""

import os

import orjson

from stream.faust_jetstream import JetStreamSettings, create_app

PARTITIONS = int(os.environ.get("PARTITIONS", "4"))

settings = JetStreamSettings(
    servers=os.environ["NATS"].split(","),
    partitions=PARTITIONS,
    member_id=os.environ["MEMBER"],
    replicas=int(os.environ.get("REPLICAS", "1")),
    lease=float(os.environ.get("LEASE", "3")),
    heartbeat=float(os.environ.get("LEASE", "3")) / 5,
    revoke_timeout=2.0,
    commit_interval=float(os.environ.get("COMMIT_INTERVAL", "0.2")),
    commit_messages=int(os.environ.get("COMMIT_MESSAGES", "500")),
)
app = create_app("churn", settings=settings)
raw = app.jetstream.bind_topic("raw", stream="RAW")
lines = app.Table("lines", default=int)
seen = app.Table("seen", default=int)
app.jetstream.ensure_outbox_stream("RESULTS", ["results.>"])


processed = 0


@app.agent(raw)
async def count(stream):
    async for event in stream.events():
        partition = event.message.partition
        table, number = lines.for_partition(partition), seen.for_partition(partition)
        for key in event.value.split():
            name = key.decode()
            table[name] += 1
        number["messages"] += 1
        global processed
        processed += 1
        result = {"offset": event.message.offset, "number": number["messages"]}
        app.jetstream.outbox.send(partition, f"results.{partition}", orjson.dumps(result))


@app.timer(1.0)
async def report():
    print(f"PROCESSED {processed} HEALTH {app.jetstream.health()}", flush=True)


if __name__ == "__main__":
    app.main()
