"""The jobs: each parses, loads its config, reads tables, calls a stage, writes tables."""
