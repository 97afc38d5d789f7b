"""Small generated tables that look like those of a trade, for the examples of `conf/examples`."""
