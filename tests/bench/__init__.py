"""Measures taskd beside other task queues and the limits of the machine: `sh tests/bench/run`, nothing of the tests."""
