"""The bpftool door: every object and command of bpftool, in the words and layouts of bpftool 7.8.

``main`` takes the words of a command line; ``grammar`` is the table of all commands, which drives
parsing, help and completion; each command lives in a module that is imported when it is asked for.
"""
