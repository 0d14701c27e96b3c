-- The last row of every 10-second window. What spans nodes (workload, namespace, student, assignment, cluster) is added up over them.
-- @kind: Kind of the events that were counted
-- @scope: container, pod, workload, namespace, student, assignment, node (all of it), host (what runs outside pods of a node) or cluster (all nodes)
-- @node: Node whose events were counted; __all__ for a scope that spans nodes
-- @final: Whether the window is closed on every node; rows of an open one change
-- @version: Rises with every change of the row
-- @namespace: Kubernetes namespace
${include:buckets_over_nodes buckets_10s}
