"""A memory node: a daemon that lends this machine's memory to readers on other machines (``tiervec memory-node``)."""
