"""How an audit is printed."""

import json
from collections import defaultdict
from dataclasses import asdict

from sinks.audit import AuditReport, BootAudit
from tenwatch.sql_client import Result
from tenwatch.tables import print_table

COUNTS = (
    "emitted", "stored", "dead", "lost", "in_flight", "missing", "repeated", "lost_at_source",
)  # fmt: skip
SHOWN = 20
"""Problems and gaps that people are shown; JSON has all that were listed."""


def print_json(report: AuditReport) -> None:
    """Everything, as one object."""
    print(
        json.dumps(
            {
                "balanced": report.balanced,
                "seconds": round(report.seconds, 3),
                "totals": report.totals(),
                "boots": [asdict(boot) | {"balanced": boot.balanced} for boot in report.boots],
                "gaps": [asdict(gap) | {"count": gap.count} for gap in report.gaps],
                "repeats": [asdict(each) | {"count": each.count} for each in report.repeats],
            }
        )
    )


def print_report(report: AuditReport) -> None:
    """A row per node and kind, what doesn't balance, and the verdict."""
    groups: dict[tuple[str, str], list[BootAudit]] = defaultdict(list)
    for boot in report.boots:
        groups[boot.node, boot.kind].append(boot)
    if groups:
        rows = [
            [*key, len(boots), *(sum(getattr(each, name) for each in boots) for name in COUNTS)]
            for key, boots in sorted(groups.items())
        ]
        names = ["node", "kind", "boots", *(name.replace("_", " ") for name in COUNTS)]
        print_table(Result(names, ["String", "String", *["UInt64"] * (len(names) - 2)], rows))
    wrong = [boot for boot in report.boots if not boot.balanced]
    for boot in wrong[:SHOWN]:
        print(f"{boot.kind} of {boot.node}, boot {boot.boot}: {'; '.join(boot.problems)}")
    for gap in report.gaps[:SHOWN]:
        print(
            f"missing: {gap.kind} of {gap.node}, boot {gap.boot}, seq {gap.first_seq} to "
            f"{gap.last_seq}: {gap.place}"
        )
    left_out = max(0, len(wrong) - SHOWN) + max(0, len(report.gaps) - SHOWN)
    if left_out:
        print(f"and {left_out} more; --json shows them")
    totals = report.totals()
    if not report.boots:
        print("nothing to audit: the store knows of no producer")
    elif report.balanced:
        print(
            f"balanced: {totals['emitted']} events of {len(report.boots)} boots; "
            f"{totals['stored']} stored, {totals['dead']} dead, {totals['lost']} lost and counted, "
            f"{totals['in_flight']} on their way ({report.seconds:.1f} s)"
        )
    else:
        print(f"NOT balanced: {len(wrong)} of {len(report.boots)} boots ({report.seconds:.1f} s)")
