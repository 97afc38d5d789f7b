"""How well does what validation prefers do on the test? The study behind `split`'s defaults."""
