"""What is done to taskd to see that nothing is lost: `sh tests/faults/run`."""
