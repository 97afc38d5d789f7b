"""Spark below the stages: sessions, the owner's tables, barrier programs, arrays on their way."""
