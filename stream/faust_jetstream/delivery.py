"""The short way from a reader's buffer to the agents' queues, for topics of plain bytes.

faust's own way is a coroutine per message, which awaits flow control, the producer's buffer and
a decoder. For a bound topic whose keys and values stay bytes there is nothing to await: a slice
of messages is delivered in one go.
"""

from typing import Any

from faust import Schema
from faust import Topic as FaustTopic
from faust.types import TP, ConsumerMessage

from .reader import Reader
from .topics import Topic
from .tracker import OffsetTracker

SLICE = 64
"""Messages of one topic partition delivered before the next one's turn."""


def deliver_raw(
    app: Any,
    topic_and_prefix: tuple[Topic, int],
    tp: TP,
    reader: Reader,
    tracker: OffsetTracker,
    most: int,
) -> bool:
    """Deliver up to ``most`` records; False, and nothing done, if this way is not for them."""
    topic, prefix = topic_and_prefix
    channels = app.topics._tp_index.get(tp)
    if not topic.bound or not channels or not app.flow_control.is_active():
        return False
    if not all(_is_raw(channel) for channel in channels):
        return False
    queues = [channel.queue for channel in channels]
    room = min(queue.maxsize - queue.qsize() for queue in queues)
    generation = app.consumer_generation_id
    new_event = app.conf.Event
    name, partition = tp
    count = len(queues)
    for sequence, stored, subject, payload, headers in reader.take(min(most, room)):
        message = ConsumerMessage(
            name,
            partition,
            sequence,
            stored / 1e9,
            1,
            headers,
            subject[prefix:].encode(),
            payload,
            None,
            tp=tp,
            generation_id=generation,
        )
        message.refcount = count
        event = new_event(app, message.key, payload, headers, message)
        tracker.deliver(sequence)
        for queue in queues:
            queue.force_put_nowait(event)
    return True


def _is_raw(channel: Any) -> bool:
    schema = channel.schema
    return (
        type(channel) is FaustTopic
        and type(schema) is Schema
        and schema.key_type is bytes
        and schema.value_type is bytes
        and schema.key_serializer == "raw"
        and schema.value_serializer == "raw"
    )
