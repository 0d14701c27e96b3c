-- One row per pod: the newest that is known of it.
-- @ts: When that was seen, UTC
-- @first_ts: When the pod was first seen, UTC
-- @action: observed, or deleted for a pod that has gone
-- @boot: Life of the producer that saw it last
-- @seq: Place of that record among the events of its boot
-- @hostname: Host name inside the pod
-- @host_network: The pod uses the network of the node
-- @running: Whether it has not been deleted
SELECT
    max(e.ts) AS ts,
    min(e.ts) AS first_ts,
    e.node AS node,
    argMax(e.boot, (e.ts, e.seq)) AS boot,
    argMax(e.seq, (e.ts, e.seq)) AS seq,
    argMax(e.action, (e.ts, e.seq)) AS action,
    action != 'deleted' AS running,
    argMax(e.namespace, (e.ts, e.seq)) AS namespace,
    argMax(e.pod, (e.ts, e.seq)) AS pod,
    e.pod_uid AS pod_uid,
    argMax(e.workload_kind, (e.ts, e.seq)) AS workload_kind,
    argMax(e.workload, (e.ts, e.seq)) AS workload,
    argMax(e.course, (e.ts, e.seq)) AS course,
    argMax(e.division, (e.ts, e.seq)) AS division,
    argMax(e.student, (e.ts, e.seq)) AS student,
    argMax(e.labels, (e.ts, e.seq)) AS labels,
    argMax(e.containers, (e.ts, e.seq)) AS containers,
    argMax(e.host_network, (e.ts, e.seq)) AS host_network,
    argMax(e.hostname, (e.ts, e.seq)) AS hostname,
    argMax(e.phase, (e.ts, e.seq)) AS phase,
    argMax(e.source, (e.ts, e.seq)) AS source
FROM ${name:pod_events} AS e
GROUP BY e.node, e.pod_uid
