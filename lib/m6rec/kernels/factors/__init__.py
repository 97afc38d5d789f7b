"""Factor models: randomized SVD, implicit and explicit ALS, and the projection of rows."""
