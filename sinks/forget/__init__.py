"""Erases what is stored of a person, a pod or a path, and records that it did."""

from sinks.forget.erase import BrokerRemains, Erasure, Subject, forget, preview

__all__ = ["BrokerRemains", "Erasure", "Subject", "forget", "preview"]
