"""Tables whose state is kept per partition and written by the partition's commit."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from faust.stores.base import Store
from faust.streams import current_event
from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.table import Table as FaustTable

from .codec import Codec, FaustCodec, JSONCodec, KeyCodec
from .errors import ConfigurationError, NotAssignedError, NotSupportedError
from .names import token

if TYPE_CHECKING:
    from .partition import Partition

_MISSING = object()


class PartitionTable(dict[Any, Any]):
    """One partition's part of a table: a dict that notes which keys were written.

    Values are live objects. After changing one in place, call :meth:`touch`.
    """

    __slots__ = ("_default", "_partition", "codec", "dirty", "key_codec", "name", "token")

    def __init__(self, table: "Table", partition: "Partition") -> None:
        super().__init__()
        self.name = table.name
        self.token = table.token
        self.codec = table.codec
        self.key_codec = table.key_codec
        self.dirty: set[Any] = set()
        self._default = table.default
        self._partition = partition

    def touch(self, key: Any) -> None:
        """Note that the value of ``key`` was changed in place."""
        self._partition.touch()
        self.dirty.add(key)

    def load(self, key: Any, value: Any) -> None:
        """Set a key to what the server holds already."""
        dict.__setitem__(self, key, value)

    def discard(self, key: Any) -> None:
        """Drop a key that the server does not hold."""
        dict.pop(self, key, None)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._partition.touch()
        dict.__setitem__(self, key, value)
        self.dirty.add(key)

    def __delitem__(self, key: Any) -> None:
        self._partition.touch()
        dict.__delitem__(self, key)
        self.dirty.add(key)

    def __missing__(self, key: Any) -> Any:
        if self._default is None:
            raise KeyError(key)
        return self._default()

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Remove ``key`` and return its value, or ``default`` if it has none."""
        if key not in self:
            if default is _MISSING:
                raise KeyError(key)
            return default
        self.touch(key)
        return dict.pop(self, key)

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the key set last, with its value."""
        key = next(reversed(self))
        return key, self.pop(key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, setting it to ``default`` first if it has none."""
        if key not in self:
            self[key] = default
        return dict.__getitem__(self, key)

    def update(self, *others: Any, **more: Any) -> None:
        """Set many keys."""
        for other in (*others, more):
            pairs = other.items() if isinstance(other, Mapping) else other
            for key, value in pairs:
                self[key] = value

    def __ior__(self, other: Any) -> "PartitionTable":  # type: ignore[misc]
        self.update(other)
        return self

    def clear(self) -> None:
        """Remove all keys."""
        self._partition.touch()
        self.dirty.update(self)
        dict.clear(self)


class _TableStore(Store):  # type: ignore[misc]
    """What faust calls a table's ``data``: all partitions of this worker, as one mapping."""

    table: "Table"

    def __getitem__(self, key: Any) -> Any:
        return self.table.holder(key)[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.table.current()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.table.holder(key)[key]

    def __contains__(self, key: Any) -> bool:
        return any(key in part for part in self.table.parts.values())

    def __len__(self) -> int:
        return sum(len(part) for part in self.table.parts.values())

    def __iter__(self) -> Iterator[Any]:
        for part in self.table.parts.values():
            yield from part

    def get(self, key: Any, default: Any = None) -> Any:
        for part in self.table.parts.values():
            if key in part:
                return part[key]
        return default

    def pop(self, key: Any, default: Any = None) -> Any:
        for part in self.table.parts.values():
            if key in part:
                return part.pop(key)
        return default

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.table.current().update(*args, **kwargs)

    def clear(self) -> None:
        for part in self.table.parts.values():
            part.clear()

    def items(self) -> Any:
        return [item for part in self.table.parts.values() for item in part.items()]

    def keys(self) -> Any:
        return list(self)

    def values(self) -> Any:
        return [value for part in self.table.parts.values() for value in part.values()]

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        raise NotSupportedError("tables are loaded from state streams, not from changelog topics")

    def persisted_offset(self, tp: Any) -> int | None:
        return None

    def reset_state(self) -> None: ...

    async def backup_partition(self, tp: Any, *args: Any, **kwargs: Any) -> None: ...

    def restore_backup(self, tp: Any, *args: Any, **kwargs: Any) -> None: ...

    async def need_active_standby_for(self, tp: Any) -> bool:
        return False


class Table(FaustTable):  # type: ignore[misc]
    """A faust table on JetStream; made by ``app.Table(name, codec=..., key_codec=...)``.

    Inside an event, the table is the part of the event's partition. Elsewhere reads look
    through all partitions of this worker, and writes need :meth:`for_partition`.
    """

    def __init__(
        self,
        app: Any,
        *,
        codec: Codec | None = None,
        key_codec: Codec | None = None,
        **kwargs: Any,
    ) -> None:
        self.parts: dict[int, PartitionTable] = {}
        self._data: _TableStore | None = None
        self._codec = codec
        self._key_codec = key_codec
        super().__init__(app, **kwargs)
        if self.is_global:
            raise NotSupportedError(
                f"table {self.name} is global: every worker would read every partition's state. "
                "Publish its changes to a topic that every worker reads instead."
            )

    @property
    def token(self) -> str:
        """The table's name as a subject token."""
        return token(self.name)

    @property
    def codec(self) -> Codec:
        """Codec of the values: the one given, else the faust type's, else JSON."""
        if self._codec is None:
            self._codec = self._chosen("value", self.value_type, self.value_serializer, JSONCodec)
        return self._codec

    @property
    def key_codec(self) -> Codec:
        """Codec of the keys: the one given, else the faust type's, else JSON."""
        if self._key_codec is None:
            self._key_codec = self._chosen("key", self.key_type, self.key_serializer, KeyCodec)
        return self._key_codec

    def _chosen(self, kind: str, typ: Any, serializer: Any, default: Callable[[], Codec]) -> Codec:
        if self.window is not None and kind == "key":
            return default()
        if typ is None and serializer in (None, "json"):
            return default()
        return FaustCodec(self.app.serializers, kind, typ, serializer)

    @property
    def data(self) -> _TableStore:
        """faust's store of the table."""
        if self._data is None:
            self._data = _TableStore(
                "memory://", self.app, self, table_name=self.name, loop=self.loop
            )
        return self._data

    def new_part(self, partition: "Partition") -> PartitionTable:
        """Return an empty part, for a partition that is being taken over."""
        return PartitionTable(self, partition)

    def for_partition(self, partition: int) -> PartitionTable:
        """Return one partition's part. Raises :exc:`NotAssignedError` if it is not ours now."""
        part = self.parts.get(partition)
        if part is None:
            raise NotAssignedError(partition)
        return part

    def current(self) -> PartitionTable:
        """Return the part of the event in process."""
        event = current_event()
        if event is None:
            raise ConfigurationError(
                f"table {self.name} is written outside of an event: use "
                "table.for_partition(p)[key] = value, which says where the key belongs."
            )
        return self.for_partition(event.message.partition)

    def holder(self, key: Any) -> PartitionTable:
        """Return the part to look for ``key`` in: the event's, or the one that has the key."""
        event = current_event()
        if event is not None:
            part = self.parts.get(event.message.partition)
            if part is not None:
                return part
        for part in self.parts.values():
            if key in part:
                return part
        raise KeyError(key)

    def touch(self, key: Any) -> None:
        """Note that the value of ``key`` was changed in place, in the event's partition."""
        self.current().touch(key)

    def __getitem__(self, key: Any) -> Any:
        self.on_key_get(key)
        try:
            return self.holder(key)[key]
        except KeyError:
            return self.__missing__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.current()[key] = value
        self.on_key_set(key, value)

    def __delitem__(self, key: Any) -> None:
        del self.current()[key]
        self.on_key_del(key)

    def __contains__(self, key: Any) -> bool:
        try:
            return key in self.holder(key)
        except KeyError:
            return False

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set many keys, in the event's partition."""
        self.current().update(*args, **kwargs)

    def clear(self) -> None:
        """Remove all keys of the event's partition."""
        self.current().clear()

    def on_key_set(self, key: Any, value: Any) -> None:
        """Call faust's sensors and note when a windowed key expires."""
        if self.window is not None:
            self._maybe_set_key_ttl(key, current_event().message.partition)
        self._sensor_on_set(self, key, value)

    def on_key_del(self, key: Any) -> None:
        """Call faust's sensors and forget when a windowed key expires."""
        if self.window is not None:
            self._maybe_del_key_ttl(key, current_event().message.partition)
        self._sensor_on_del(self, key)

    def info(self) -> Mapping[str, Any]:
        """Return the arguments that make a table like this one."""
        return {**super().info(), "codec": self._codec, "key_codec": self._key_codec}

    def _verify_source_topic_partitions(self, source_topic: str) -> None: ...


class TableManager(FaustTableManager):  # type: ignore[misc]
    """faust's table manager, starting without its pause of a second.

    As with faust, tables are declared before the app starts.
    """

    async def on_start(self) -> None:
        """Register the tables, start what faust calls recovery."""
        await self._update_channels()
        await self.recovery.start()


class UnsupportedTable:
    """Stands for kinds of tables that this transport refuses."""

    def __init__(self, app: Any, *, name: str = "", **kwargs: Any) -> None:
        raise NotSupportedError(
            f"{name}: global tables and set tables are not supported. A set is a value like any "
            "other here (a table of sets with a codec); global state belongs in a topic that "
            "every worker reads."
        )
