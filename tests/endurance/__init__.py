"""What takes too long for every run of the tests: `python -m tests.endurance [PART …]` prints the figures."""
