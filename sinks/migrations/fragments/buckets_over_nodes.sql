SELECT
    kind, scope, node, window_start, window_end, final, version, late, samples,
    namespace, workload_kind, workload, pod, pod_uid, container, container_id,
    course, division, student, assignment,
    ${metrics}
FROM ${name:@1} FINAL
WHERE scope IN ('container', 'pod', 'node', 'host')
UNION ALL
SELECT
    kind,
    scope,
    '__all__' AS node,
    window_start,
    max(b.window_end) AS window_end,
    min(b.final) AS final,
    max(b.version) AS version,
    sum(b.late) AS late,
    sum(b.samples) AS samples,
    namespace, workload_kind, workload, '' AS pod, '' AS pod_uid, '' AS container, '' AS container_id,
    course, division, student, assignment,
    ${metrics_over_nodes}
FROM ${name:@1} AS b FINAL
WHERE b.scope IN ('workload', 'namespace', 'student', 'assignment')
GROUP BY kind, scope, window_start, namespace, workload_kind, workload, course, division, student, assignment
UNION ALL
SELECT
    kind,
    'cluster' AS scope,
    '__all__' AS node,
    window_start,
    max(b.window_end) AS window_end,
    min(b.final) AS final,
    max(b.version) AS version,
    sum(b.late) AS late,
    sum(b.samples) AS samples,
    '' AS namespace, '' AS workload_kind, '' AS workload, '' AS pod, '' AS pod_uid, '' AS container, '' AS container_id,
    '' AS course, '' AS division, '' AS student, '' AS assignment,
    ${metrics_over_nodes}
FROM ${name:@1} AS b FINAL
WHERE b.scope = 'node'
GROUP BY kind, window_start
SETTINGS do_not_merge_across_partitions_select_final = 1
