"""The HTML report of a run: its tables, plots and example lists."""
