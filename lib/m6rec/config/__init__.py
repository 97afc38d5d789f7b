"""The configuration of a run, section by section."""
