"""Every process that starts or ends on the node, by eBPF; degraded ways where that is refused."""
