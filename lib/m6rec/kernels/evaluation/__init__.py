"""How good lists are: metrics, sums over users, intervals, tests, ablation, the mixed split."""
