"""Microsoft's DiskANN on disk in a process, and a Python, of its own: diskannpy pins another numpy than ours.

This file is run by that Python, as a script, with nothing of TierVec beside it:

    python diskann_peer.py FOLDER PREFIX QUERIES.npy THREADS

It answers lines of JSON on stdin, ``{"k", "complexity", "beam_width", "ids"}``, with ``{"seconds"}`` on stdout, and
puts the ids it found into the .npy file `ids` when one is named. What diskannpy prints goes to stderr.
"""

import json
import os
import sys
import time


def main() -> None:
    """Serves until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import diskannpy
    import numpy as np

    folder, prefix, queries_path, threads = sys.argv[1:]
    queries = np.load(queries_path)
    # No cache of nodes: cache_mechanism 0. With 1 it would first run all queries of the index's sample.
    index = diskannpy.StaticDiskIndex(
        index_directory=folder,
        num_threads=int(threads),
        num_nodes_to_cache=0,
        cache_mechanism=0,
        index_prefix=prefix,
    )
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.perf_counter()
        found = index.batch_search(
            queries,
            k_neighbors=asked["k"],
            complexity=asked["complexity"],
            num_threads=int(threads),
            beam_width=asked["beam_width"],
        )
        seconds = time.perf_counter() - began
        if asked.get("ids"):
            np.save(asked["ids"], np.asarray(found.identifiers).astype(np.int64))
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
