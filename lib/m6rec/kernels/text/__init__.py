"""Sentence encoders: from texts to word pieces, and from these to vectors, in NumPy."""
