"""``tenwatch loadgen``: simulated nodes whose every count is known."""

from typing import Annotated

import typer

from tenwatch.commands.options import DataOption


def run(
    nodes: Annotated[int, typer.Option(min=1, max=5000, help="Simulated nodes.")] = 3,
    events: Annotated[
        int, typer.Option(min=1, help="Events over all nodes; samples and progress on top.")
    ] = 10_000,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Events per second over all nodes, now. Default: as fast as it goes, in "
            "simulated time that ends now.",
        ),
    ] = None,
    node_rate: Annotated[
        int, typer.Option(min=1, help="Without --rate: events per simulated second and node.")
    ] = 1000,
    mix: Annotated[
        str, typer.Option(metavar="SHARES", help="Shares of the events.")
    ] = "process=75,file=22,hostpath=3",
    pods: Annotated[int, typer.Option(min=1, max=500, help="Pods of each node.")] = 10,
    batch: Annotated[int, typer.Option(min=1, max=512, help="Events of a message.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same load.")] = 1,
    prefix: Annotated[
        str | None, typer.Option(help="Names of the nodes: PREFIX-0… Default: new names.")
    ] = None,
    data: DataOption = None,
) -> None:
    """Publish the events of simulated nodes, and print as JSON what was published.

    The counts are exact: for each kind the events that SQL must show, and what the node's buckets
    must add up to. Every batch is acknowledged before it ends. Nodes should be new ones (no
    --prefix, or another one than before): for known nodes old events may be late.

    Example: tenwatch loadgen --nodes 20 --events 1000000 > expected.json
    """
    import asyncio
    import json
    import secrets
    import sys

    from tenwatch.loadgen.run import LoadOptions, parse_mix, publish

    options = LoadOptions(
        nodes=nodes,
        prefix=prefix or f"sim-{secrets.token_hex(3)}",
        events=events,
        rate=rate,
        node_rate=node_rate,
        seed=seed,
        pods=pods,
        batch=batch,
        mix=parse_mix(mix),
    )
    report = asyncio.run(publish(data, options, progress=sys.stderr.isatty()))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(json.dumps(report.as_dict()))
