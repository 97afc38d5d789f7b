"""What lists are worth: metrics, sums over users, intervals, tests, ablation."""
