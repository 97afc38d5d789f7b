"""What an owner's table holds, judged from its schema and first rows, without Spark."""
