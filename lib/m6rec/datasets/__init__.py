"""Public data and folders of files as configurations that the pipeline runs."""
