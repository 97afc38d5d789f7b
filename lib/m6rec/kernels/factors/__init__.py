"""Factor models: randomized SVD, implicit and explicit ALS, and projection of rows."""
