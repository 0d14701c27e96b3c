"""The broker's side of Tenwatch: connecting, streams, permissions, publishing and consuming."""
