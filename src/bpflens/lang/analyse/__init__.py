"""Analysis: from the tree to a typed program.

:func:`~bpflens.lang.analyse.checker.analyse` expands attach points against the target, gives every
expression a type, and settles the types of maps and variables by going over the script until they
stop changing. The tree itself is not touched: results are in side tables.
"""
