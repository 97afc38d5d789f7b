"""Before a job's own work: the JVM's options, its archive of classes, Python's workers."""
