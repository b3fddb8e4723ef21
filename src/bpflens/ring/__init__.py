"""Event buffers: what BPF programs send, read in batches.

``RingBuffer`` reads a map of type ringbuf, ``PerfBuffer`` one of type perf_event_array, ``Poller``
waits for several of them. All hand out *blocks* of equal records, count exactly what was lost and
never spin. The walks over raw bytes are pure: :mod:`bpflens.ring.record` and
:mod:`bpflens.ring.perf_record`.

Example::

    with RingBuffer(events) as ring:
        ring.wait(100)
        ring.drain(lambda block, size, count: print(count, "records of", size, "bytes"))
"""
