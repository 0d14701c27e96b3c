-- title: Nodes, namespaces and workloads that exist, with their pods
-- questions: 15
-- param since DateTime64(6, 'UTC') = -1d: Begin, a time in UTC or like -2h
SELECT what, name, namespace, workload_kind, last_ts, pods
FROM
(
    SELECT 'node' AS what, node AS name, '' AS namespace, '' AS workload_kind, max(last) AS last_ts, sum(pods) AS pods
    FROM
    (
        SELECT node, max(ts) AS last, toUInt64(0) AS pods FROM tenwatch.nodes WHERE ts >= {since:DateTime64(6, 'UTC')} GROUP BY node
        UNION ALL
        SELECT node, max(ts) AS last, countIf(running) AS pods FROM tenwatch.pods WHERE running OR ts >= {since:DateTime64(6, 'UTC')} GROUP BY node
    )
    GROUP BY node
    UNION ALL
    SELECT 'namespace' AS what, namespace AS name, namespace, '' AS workload_kind, max(ts) AS last_ts, countIf(running) AS pods
    FROM tenwatch.pods
    WHERE namespace != '' AND (running OR ts >= {since:DateTime64(6, 'UTC')})
    GROUP BY namespace
    UNION ALL
    SELECT 'workload' AS what, workload AS name, namespace, workload_kind, max(ts) AS last_ts, countIf(running) AS pods
    FROM tenwatch.pods
    WHERE workload != '' AND (running OR ts >= {since:DateTime64(6, 'UTC')})
    GROUP BY namespace, workload_kind, workload
)
ORDER BY what, namespace, name
