"""M6-Rec: a hybrid recommender as Spark jobs over Delta tables."""

__version__ = "0.1.0"
