-- One row per minute, rolled up from the closed 10-second windows. What spans nodes (workload, namespace, student, assignment, cluster) is added up over them.
-- @kind: Kind of the events that were counted
-- @scope: container, pod, workload, namespace, student, assignment, node (all of it), host (what runs outside pods of a node) or cluster (all nodes)
-- @node: Node whose events were counted; __all__ for a scope that spans nodes
-- @final: Always true: only closed windows are rolled up
-- @window_start: Begin of the minute, UTC
-- @window_end: End of the minute, UTC
-- @version: Rises with every change of the row
-- @namespace: Kubernetes namespace
${include:buckets_over_nodes buckets_1m}
