"""The live page: a heuristic beside the plans that it makes, renewed at each edit; nothing is placed unasked.

Theory of operation. ``server`` answers one browser over the loopback; ``desk`` holds what the page shows and
has two threads, one that watches the files and one that plans. Heuristics are asked by ``bench`` in a process
of its own, as forking them off is nothing for a process with threads, and an edit need not wait for one that
comes to no end. ``applying`` runs the workflow. What is planned, explained and drawn is so by the functions
that the verbs call.
"""
