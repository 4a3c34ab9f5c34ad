"""The parts of scripts/bench: two hosts in network namespaces, the contestants, the rows with their
goals, one measurement, and the report. Standard library only."""
