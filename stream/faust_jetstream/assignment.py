"""Who gets which partitions: balanced, and moving as few as possible."""

from collections.abc import Iterable, Mapping


def assign(
    members: Iterable[str], before: Mapping[str, Iterable[int]], partitions: int
) -> dict[str, list[int]]:
    """Return the partitions of each member, none of which has two more than another.

    A member keeps what it had ``before`` as far as the balance allows; the result depends only
    on the arguments. No members: an empty assignment.
    """
    names = sorted(set(members))
    if not names:
        return {}
    kept: dict[str, list[int]] = {}
    taken: set[int] = set()
    for name in names:
        own = [p for p in sorted(set(before.get(name, ()))) if p < partitions and p not in taken]
        taken.update(own)
        kept[name] = own
    share, extra = divmod(partitions, len(names))
    # Those who have most keep the larger shares: that moves the fewest partitions.
    by_size = sorted(names, key=lambda name: (-len(kept[name]), name))
    quota = {name: share + (index < extra) for index, name in enumerate(by_size)}
    free = sorted(set(range(partitions)) - taken)
    for name in names:
        free.extend(kept[name][quota[name] :])
        del kept[name][quota[name] :]
    free.sort()
    for name in names:
        missing = quota[name] - len(kept[name])
        kept[name].extend(free[:missing])
        del free[:missing]
    return {name: sorted(own) for name, own in kept.items()}
