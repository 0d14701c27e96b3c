"""Proves, per producer and boot, that every event is stored once, dead, or counted as lost."""

from sinks.audit.audit import AuditOptions, run_audit
from sinks.audit.report import AuditReport, BootAudit, Gap, Repeat

__all__ = ["AuditOptions", "AuditReport", "BootAudit", "Gap", "Repeat", "run_audit"]
