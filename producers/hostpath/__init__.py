"""What lies in folders of the node: a listing now and then, and what appears, changes, vanishes."""
