"""How good lists are: metrics, sums over users, intervals, tests, ablation, what is held out."""
