"""The bpftrace door: its command line, and the glue from words to a session."""
