"""The broker's side of Tenwatch: connecting, streams, permissions, publishing and consuming."""

from stream.broker import nats_import as nats_import  # first: decides what nats-py brings along
