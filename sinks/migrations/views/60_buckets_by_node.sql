-- The last row of every 10-second window, one row per node: what spans nodes is shown in parts.
-- @kind: Kind of the events that were counted
-- @version: Rises with every change of the row
-- @namespace: Kubernetes namespace
-- @scope: container, pod, workload, namespace, student, assignment, node (all of it) or host (what runs outside pods)
-- @node: Node whose events were counted
SELECT
    kind, scope, node, window_start, window_end, final, version, late, samples,
    namespace, workload_kind, workload, pod, pod_uid, container, container_id,
    course, division, student, assignment,
    ${metrics}
FROM ${name:buckets_10s} FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
