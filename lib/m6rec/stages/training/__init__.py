"""Training on the cluster: factors, neighbours, rating models, and the rows for the towers."""
